"""The inverse square root schedule."""

from __future__ import annotations

import math

from pydantic import Field

from windtunnel.kits.optim.curves import rise
from windtunnel.slots import Progress, Schedule


class InverseSquareRoot(Schedule, name="inverse-sqrt"):
    """Linear warm-up over W steps, then sqrt(W / t): the peak falls with the square root of the steps made.

    Vaswani et al. 2017, arXiv:1706.03762 (their rate is this one with a peak of (model width * W) ** -0.5). It has no end: the last
    step has the factor sqrt(warmup), and a longer run with the same number of warm-up steps begins with the same rates.
    """

    warmup: float = Field(0.04, gt=0, lt=1, description="share of the phase that warms up; it also sets how fast the rate falls")

    def factor(self, progress: Progress, peak: float) -> float:
        """Above 0 up to 1; see windtunnel.kits.optim.curves for where on the curve a step is read."""
        rising = rise(progress, self.warmup)
        # A warm-up shorter than one step still needs one step to measure the fall with.
        return rising if rising is not None else math.sqrt(max(self.warmup, 1 / max(1, progress.steps)) / progress.done)
