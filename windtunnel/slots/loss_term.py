"""The contract of loss terms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from windtunnel.core.part import Part
from windtunnel.slots.contexts import BatchContext, LookContext
from windtunnel.slots.objective import Loss

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


class LossTerm(Part):
    """A scalar added to the loss. ``needs`` names the outputs it looks at."""

    needs: ClassVar[frozenset[str]] = frozenset()

    def state(self, model: PreTrainedModel) -> dict[str, Any]:
        """What changes during training: a dictionary of tensors and numbers that the checkpoint holds and :meth:`term` may change."""
        return {}

    def look(self, model: PreTrainedModel, state: dict[str, Any], context: LookContext) -> None:
        """Called once, before the first step of the phase: estimate from data what ``state`` is to hold.

        ``model`` is what the phase begins with, in evaluation mode; its weights must stay, its gradients are cleared. A run that is
        resumed finds the state in its checkpoint and does not look again. A Weighting or an AfterStep may have this method too.
        """

    def term(
        self, model: PreTrainedModel, batch: dict[str, torch.Tensor], loss: Loss, state: dict[str, Any], context: BatchContext
    ) -> torch.Tensor:
        """The scalar, already scaled, as a mean over the targets of ``loss`` that count; the loop weighs micro-batches by their targets."""
        raise NotImplementedError
