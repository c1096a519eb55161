"""Train with a fixed random set of weights held at zero."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from windtunnel.core.errors import PartError
from windtunnel.slots import Progress, Structure

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel


class FixedMask(Structure, name="fixed-mask"):
    """Hold a random share of every weight matrix of the blocks at zero: drawn once, unstructured, the same share everywhere.

    The sparse half of SPDF, Thangarasa et al. 2023, "SPDF: Sparse Pre-training and Dense Fine-tuning", arXiv:2303.10464. The dense
    half is a phase after it without a structure: removing the mask leaves zeros, which then learn. Embeddings, head, norms and
    biases stay dense, and the first weights are not rescaled. The mask depends on its seed and the weight's name alone, so all
    runs of a study, whatever their own seed, train the same positions. The arithmetic stays dense; the FLOPs that sparse
    hardware would save are reported as effective FLOPs.
    """

    identity = {"sparsity": 0.0}

    sparsity: float = Field(0.75, ge=0, lt=1, description="share of each matrix that is held at zero, exact to the nearest weight")
    seed: int = Field(0, ge=0, description="decides, with each weight's name, which weights are held at zero")

    def apply(self, model: PreTrainedModel) -> None:
        """Zero the masked weights and their gradients from now on. Masks are saved with the model's state.

        Raises:
            PartError: where the blocks hold no weight matrix, or a mask is already in place.
        """
        from windtunnel.kits.weights.masks import put_on
        from windtunnel.models.anatomy import linears

        found = linears(model)
        shapes = {name: tuple(module.weight.shape) for name, module in found.items()}  # type: ignore[union-attr, arg-type]
        put_on(found, {name: self.mask(f"{name}.weight", shape) for name, shape in shapes.items()}, self.name)

    def mask(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """The mask (bool, True where the weight lives) of the weight ``name``."""
        import torch

        from windtunnel.models.init import generator

        size = int(torch.Size(shape).numel())
        kept = torch.ones(size, dtype=torch.bool)
        kept[torch.randperm(size, generator=generator(self.seed, name))[: round(size * self.sparsity)]] = False
        return kept.view(shape)

    def constrain(self, model: PreTrainedModel, progress: Progress | None = None) -> None:
        """Put masked weights back to zero, which optimizers that mix directions (Muon) do not leave there."""
        from windtunnel.kits.weights.masks import hold

        hold(model, self.name)

    def remove(self, model: PreTrainedModel) -> None:
        """Drop masks and gradient hooks; weights, and so the function, stay as they are."""
        from windtunnel.kits.weights.masks import take_off

        take_off(model, self.name)

    def density(self, model: PreTrainedModel, done: float = 1.0) -> float:
        """The share of the weights of the blocks' matrices that is not masked, the same at any time.

        Raises:
            PartError: where the blocks hold no weight matrix.
        """
        from windtunnel.models.anatomy import linears

        sizes = [int(module.weight.numel()) for module in linears(model).values()]  # type: ignore[union-attr, operator]
        if not sizes:
            raise PartError(f"{self.name}: the blocks of this model hold no weight matrix")
        return sum(size - round(size * self.sparsity) for size in sizes) / sum(sizes)
