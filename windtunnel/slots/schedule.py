"""The contract of schedules."""

from __future__ import annotations

from windtunnel.core.part import Part, required
from windtunnel.slots.progress import Progress


class Schedule(Part):
    """How the learning rate moves."""

    acts = ("factor",)

    @required
    def factor(self, progress: Progress, peak: float) -> float:
        """What the peak learning rate ``peak`` is multiplied with for the coming step, between 0 and 1."""
        raise NotImplementedError
