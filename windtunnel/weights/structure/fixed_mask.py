"""Train with a fixed random set of weights held at zero."""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn
from transformers import PreTrainedModel

from windtunnel.models.anatomy import linears
from windtunnel.part import PartError, Structure

BUFFER = "fixed_mask"  # bool, of the weight's shape: True where the weight lives
HANDLE = "_fixed_mask_hook"


class FixedMask(Structure, name="fixed-mask"):
    """Hold a random share of every weight matrix of the blocks at zero: drawn once, unstructured, the same share everywhere.

    The sparse half of SPDF, Thangarasa et al. 2023, "SPDF: Sparse Pre-training and Dense Fine-tuning", arXiv:2303.10464. The dense
    half is a phase after it without a structure: removing the mask leaves zeros, which then learn. Embeddings, head, norms and
    biases stay dense, and the first weights are not rescaled. The mask depends on its seed and the weight's name alone, so all
    runs of a study, whatever their own seed, train the same positions. The arithmetic stays dense; the FLOPs that sparse
    hardware would save are reported as effective FLOPs.
    """

    sparsity: float = Field(0.75, ge=0, lt=1, description="share of each matrix that is held at zero, exact to the nearest weight")
    seed: int = Field(0, ge=0, description="decides, with each weight's name, which weights are held at zero")

    def apply(self, model: PreTrainedModel) -> None:
        """Zero the masked weights and their gradients from now on. Masks are saved with the model's state.

        Raises:
            PartError: where the blocks hold no weight matrix, or a mask is already in place.
        """
        found = linears(model)
        if not found:
            raise PartError("fixed-mask: the blocks of this model hold no weight matrix")
        for name, module in found.items():
            if hasattr(module, BUFFER):
                raise PartError(f"fixed-mask: {name} already has a mask; remove the first one before applying another")
            weight: Any = module.weight
            module.register_buffer(BUFFER, self.mask(f"{name}.weight", tuple(weight.shape)).to(weight.device))
            setattr(module, HANDLE, weight.register_hook(_gradient_mask(module)))
        self.constrain(model)

    def mask(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """The mask (bool, True where the weight lives) of the weight ``name``."""
        size = int(torch.Size(shape).numel())
        draw = torch.Generator().manual_seed(int.from_bytes(hashlib.sha256(f"{self.seed}:{name}".encode()).digest()[:8], "little") >> 1)
        kept = torch.ones(size, dtype=torch.bool)
        kept[torch.randperm(size, generator=draw)[: round(size * self.sparsity)]] = False
        return kept.view(shape)

    @torch.no_grad()
    def constrain(self, model: PreTrainedModel) -> None:
        """Put masked weights back to zero, which optimizers that mix directions (Muon) do not leave there."""
        for module in _masked(model).values():
            module.weight.mul_(getattr(module, BUFFER))  # type: ignore[union-attr, operator]

    def remove(self, model: PreTrainedModel) -> None:
        """Drop masks and gradient hooks; weights, and so the function, stay as they are."""
        self.constrain(model)
        for module in _masked(model).values():
            getattr(module, HANDLE).remove()
            delattr(module, HANDLE)
            delattr(module, BUFFER)

    def density(self, model: PreTrainedModel) -> float:
        """The share of the FLOPs of the blocks' matrices that belongs to weights which are not masked."""
        masks = [getattr(module, BUFFER) for module in _masked(model).values()]
        return sum(int(mask.sum()) for mask in masks) / sum(mask.numel() for mask in masks)


def _masked(model: PreTrainedModel) -> dict[str, nn.Module]:
    found = {name: module for name, module in model.named_modules() if hasattr(module, BUFFER)}
    if not found:
        raise PartError("fixed-mask: no mask is in place; apply it first")
    return found


def _gradient_mask(module: nn.Module) -> Any:
    """A hook that reads the module's mask when it runs, so a mask loaded with the model's state is the one that acts."""

    def hook(gradient: Tensor) -> Tensor:
        return gradient * getattr(module, BUFFER)

    return hook
