"""The cosine schedule."""

from __future__ import annotations

from pydantic import Field

from windtunnel.kits.optim.curves import along, fall, rise
from windtunnel.slots import Progress, Schedule


class Cosine(Schedule, name="cosine"):
    """Linear warm-up, then half a cosine down to a floor at the end of the phase.

    Loshchilov & Hutter 2017, arXiv:1608.03983, without restarts; the floor of a tenth is that of Hoffmann et al. 2022,
    arXiv:2203.15556.
    """

    warmup: float = Field(0.02, ge=0, lt=1, description="share of the phase that warms up")
    floor: float = Field(0.1, ge=0, le=1, description="where it ends, as a share of the peak")

    def factor(self, progress: Progress, peak: float) -> float:
        """Above 0 up to 1; see windtunnel.kits.optim.curves for where on the curve a step is read."""
        rising = rise(progress, self.warmup)
        return rising if rising is not None else fall("cosine", along(progress, self.warmup, 1.0), 1.0, self.floor)
