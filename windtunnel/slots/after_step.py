"""The contract of what acts after a step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from windtunnel.core.part import Part, required
from windtunnel.slots.progress import Progress

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


class AfterStep(Part):
    """What happens to weights or moments after an optimizer step."""

    local = "it keeps or changes whole weights after each step"

    def rate(self, progress: Progress) -> float:
        """What the learning rate of the coming step is multiplied with, besides the schedule."""
        return 1.0

    @required
    def after_step(self, model: PreTrainedModel, optimizer: torch.optim.Optimizer, progress: Progress, state: dict[str, Any]) -> None:
        """Called after every step, in place. ``progress`` is that of the step just made."""
        raise NotImplementedError

    def end(self, model: PreTrainedModel, state: dict[str, Any]) -> None:
        """Called once after the last step of the phase, before the model is evaluated: what has to know that no step follows."""
