"""The contract of loss terms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from windtunnel.core.part import Part, required
from windtunnel.slots.contexts import BatchContext
from windtunnel.slots.objective import Loss

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


class LossTerm(Part):
    """A scalar added to the loss. ``needs`` names the outputs it looks at."""

    needs: ClassVar[frozenset[str]] = frozenset()

    @required
    def term(
        self, model: PreTrainedModel, batch: dict[str, torch.Tensor], loss: Loss, state: dict[str, Any], context: BatchContext
    ) -> torch.Tensor:
        """The scalar, already scaled, as a mean over the targets of ``loss`` that count; the loop weighs micro-batches by their targets."""
        raise NotImplementedError
