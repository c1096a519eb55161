"""The linear schedule."""

from __future__ import annotations

from pydantic import Field

from windtunnel.kits.optim.curves import along, fall, rise
from windtunnel.slots import Progress, Schedule


class Linear(Schedule, name="linear"):
    """Linear warm-up, then a straight line down to a floor at the end of the phase.

    Down to zero it beats cosine to a tenth at long budgets: Bergsma et al. 2025, arXiv:2502.15938.
    """

    warmup: float = Field(0.02, ge=0, lt=1, description="share of the phase that warms up")
    floor: float = Field(0.0, ge=0, le=1, description="where it ends, as a share of the peak (the last step is one short of it)")

    def factor(self, progress: Progress, peak: float) -> float:
        """Above 0 up to 1; see windtunnel.kits.optim.curves for where on the curve a step is read."""
        rising = rise(progress, self.warmup)
        return rising if rising is not None else fall("linear", along(progress, self.warmup, 1.0), 1.0, self.floor)
