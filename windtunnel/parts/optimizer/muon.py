"""Muon for the matrices inside blocks, AdamW for everything else."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from windtunnel.core.errors import PartError
from windtunnel.parts.optimizer.adamw import Beta, adamw
from windtunnel.slots import Optimizer

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


class Muon(Optimizer, name="muon"):
    """Momentum whose update is made orthogonal, for the weight matrices inside blocks; AdamW for embeddings, head, norms and biases.

    Matrices that a structure has put in the place of one (factors, adapters) count among them.

    Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/; ``adjust: match-rms`` scales updates to the size of AdamW's, so
    that its rate and decay carry over (Liu et al. 2025, arXiv:2502.16982). The update is that of torch.optim.Muon, of all
    matrices of one shape at once.
    """

    local = "it orthogonalises whole matrices"

    learning_rate: float | None = Field(None, gt=0, description="peak rate of the AdamW part (default: the one the model's size suggests)")
    matrix_learning_rate: float | None = Field(
        None, gt=0, description="peak rate of the matrices (default: 0.02; with match-rms, the rate of the AdamW part)"
    )
    adjust: Literal["original", "match-rms"] = Field(
        "original", description="how the rate depends on a matrix's shape: sqrt(max(1, out / in)), or 0.2 sqrt(max(out, in))"
    )
    momentum: float = Field(0.95, ge=0, lt=1, description="momentum of the matrices")
    nesterov: bool = Field(True, description="whether the momentum looks one step ahead")
    iterations: int = Field(5, ge=1, le=20, description="Newton-Schulz iterations")
    matrix_weight_decay: float | None = Field(
        None, ge=0, description="decay of the matrices (default: what shrinks them as much in a step as the AdamW part would)"
    )
    weight_decay: float = Field(0.1, ge=0, description="decoupled decay of the AdamW part, norms and biases spared")
    betas: tuple[Beta, Beta] = Field((0.9, 0.95), description="decay of the first and the second moment, AdamW part")
    eps: float = Field(1e-8, gt=0, description="added to the root of the second moment, AdamW part")

    def build(self, model: PreTrainedModel, learning_rate: float) -> torch.optim.Optimizer:
        """One optimizer whose groups are those of Muon, then those of AdamW, each with ``lr`` at its peak.

        Raises PartError where no trainable matrix lies inside a block.
        """

        from windtunnel.kits.optim.joined import Joined
        from windtunnel.kits.optim.orthogonal import BatchedMuon
        from windtunnel.models.anatomy import trained_matrices

        rate = learning_rate if self.learning_rate is None else self.learning_rate
        matrix_rate = self.matrix_learning_rate or (0.02 if self.adjust == "original" else rate)
        decay = self.weight_decay * rate / matrix_rate if self.matrix_weight_decay is None else self.matrix_weight_decay
        groups: dict[float, list[torch.nn.Parameter]] = {}
        for weight, transposed in trained_matrices(model):
            groups.setdefault(self._correction(weight, transposed), []).append(weight)
        if not groups:
            raise PartError("muon finds no trainable weight matrix inside the model's blocks; use adamw")
        matrices = BatchedMuon(
            [
                {"params": weights, "lr": matrix_rate * scale, "weight_decay": decay / scale, "name": "matrices"}
                for scale, weights in groups.items()
            ],
            momentum=self.momentum,
            nesterov=self.nesterov,
            ns_steps=self.iterations,
            adjust_lr_fn="original" if self.adjust == "original" else "match_rms_adamw",
        )
        taken = {id(weight) for weights in groups.values() for weight in weights}
        rest = [parameter for parameter in model.parameters() if parameter.requires_grad and id(parameter) not in taken]
        if not rest:
            return Joined(matrices)
        return Joined(matrices, adamw(rest, rate, weight_decay=self.weight_decay, betas=self.betas, eps=self.eps))

    def _correction(self, weight: torch.Tensor, transposed: bool) -> float:
        """What the rate is multiplied with because torch reads a shape as [out, in], while some families store [in, out]."""
        if self.adjust != "original" or not transposed:
            return 1.0
        inputs, outputs = weight.shape
        return math.sqrt(max(1, outputs / inputs) / max(1, inputs / outputs))
