"""The infinite learning rate schedule."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field, model_validator

from windtunnel.kits.optim.curves import along, fall, rise
from windtunnel.slots import Progress, Schedule


class Infinite(Schedule, name="infinite"):
    """Warm up, cool down to a constant rate that can be held for as long as data comes, anneal shortly before release.

    Ibrahim et al. 2024, arXiv:2403.08763; Singh et al. 2025, arXiv:2503.02844. With s steps since the warm-up of W and C steps of
    cool-down, the rate is constant + (peak - constant) / 2 * (1 + cos(pi s / C)), or with the inverse square root
    peak + (constant - peak) h(s / C) / h(1), h(u) = 1 / sqrt(1 + timescale u) - 1; then constant; and over the D steps of the anneal
    constant * (minimum / constant) ** (u / D). What warm-up, cool-down and anneal leave of the phase is constant.

    A task that is not the last ends without anneal (``anneal: 0``). The next one resumes at the constant rate from the weights
    before any anneal, with ``warmup: 0, cooldown: 0``. Where there is no cool-down, a warm-up aims at the constant rate.
    """

    warmup: float = Field(0.01, ge=0, lt=1, description="share of the phase that warms up (0 when resuming)")
    cooldown: float = Field(0.6, ge=0, le=1, description="share of the phase that falls to the constant rate (0 when resuming)")
    anneal: float = Field(0.14, ge=0, le=1, description="share of the phase, at its end, that anneals (0: stay ready to be continued)")
    constant_rate: float = Field(0.55, gt=0, le=1, description="the constant rate, as a share of the peak")
    floor: float = Field(0.1, gt=0, le=1, description="where the anneal ends, as a share of the peak")
    shape: Literal["cosine", "inverse-sqrt"] = Field("cosine", description="form of the cool-down")
    timescale: float = Field(10.0, gt=0, description="how sharply the inverse-sqrt cool-down bends")

    @model_validator(mode="after")
    def _possible(self) -> Infinite:
        total = self.warmup + self.cooldown + self.anneal
        if total > 1 + 1e-9:
            raise ValueError(f"warmup, cooldown and anneal are {total:g} of the phase together, more than all of it")
        if self.floor > self.constant_rate:
            raise ValueError(f"floor {self.floor:g} lies above the constant_rate {self.constant_rate:g}")
        return self

    def factor(self, progress: Progress, peak: float) -> float:
        """Above 0 up to 1; see windtunnel.kits.optim.curves for where on the curve a step is read."""
        rising = rise(progress, self.warmup)
        if rising is not None:
            return rising * (1.0 if self.cooldown else self.constant_rate)
        if self.anneal and progress.done > 1 - self.anneal:
            return fall("exponential", along(progress, 1 - self.anneal, 1.0), self.constant_rate, self.floor)
        u = along(progress, self.warmup, self.warmup + self.cooldown)
        if self.shape == "cosine":
            return fall("cosine", u, 1.0, self.constant_rate)
        return 1 + (self.constant_rate - 1) * self._bend(u) / self._bend(1.0)

    def _bend(self, u: float) -> float:
        return 1 / math.sqrt(1 + self.timescale * u) - 1
