"""The constant schedule."""

from __future__ import annotations

from pydantic import Field

from windtunnel.kits.optim.curves import rise
from windtunnel.slots import Progress, Schedule


class Constant(Schedule, name="constant"):
    """Linear warm-up, then the peak to the end of the phase: the form for a phase that another one continues."""

    warmup: float = Field(0.02, ge=0, lt=1, description="share of the phase that warms up")

    def factor(self, progress: Progress, peak: float) -> float:
        """Above 0 up to 1; see windtunnel.kits.optim.curves for where on the curve a step is read."""
        rising = rise(progress, self.warmup)
        return 1.0 if rising is None else rising
