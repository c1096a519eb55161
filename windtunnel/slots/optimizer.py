"""The contract of optimizers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from windtunnel.core.part import Part, required

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


class Optimizer(Part):
    """What turns gradients into updates."""

    acts = ("build",)
    local = "its update may need whole matrices"  # one whose update needs nothing but the number, its gradient and moments says "" here

    @required
    def build(self, model: PreTrainedModel, learning_rate: float) -> torch.optim.Optimizer:
        """A torch optimizer over the trainable parameters; ``learning_rate`` is the recipe's default for this model size."""
        raise NotImplementedError
