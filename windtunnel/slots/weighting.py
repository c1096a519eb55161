"""The contract of weightings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from windtunnel.core.part import Part, required
from windtunnel.slots.contexts import BatchContext
from windtunnel.slots.objective import Loss

if TYPE_CHECKING:
    import torch


class Weighting(Part):
    """How much each target counts."""

    @required
    def weigh(self, loss: Loss, batch: dict[str, torch.Tensor], state: dict[str, Any], context: BatchContext) -> torch.Tensor:
        """Weights of the shape of ``loss.values``, not negative."""
        raise NotImplementedError
