"""The warm-up, stable, decay schedule."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from windtunnel.kits.optim.curves import along, fall, rise, rise_over
from windtunnel.slots import Progress, Schedule


class WarmupStableDecay(Schedule, name="wsd"):
    """Warm up, hold the peak, decay at the end (WSD).

    Hu et al. 2024, arXiv:2404.06395. The default decay, 1 - sqrt over the last fifth down to zero, is the one that Hägele et al.
    2024, arXiv:2405.18392, found best.
    """

    warmup: float = Field(0.02, ge=0, lt=1, description="share of the phase that warms up")
    warmup_tokens: float | None = Field(None, gt=0, description="input tokens that warm up, in place of a share: all budgets begin alike")
    decay: float = Field(0.2, ge=0, le=1, description="share of the phase, at its end, that decays (0: none)")
    shape: Literal["linear", "sqrt", "exponential", "cosine"] = Field("sqrt", description="form of the decay; sqrt is 1 - sqrt(u)")
    floor: float = Field(0.0, ge=0, le=1, description="where it ends, as a share of the peak (above 0 for exponential)")

    @model_validator(mode="after")
    def _possible(self) -> WarmupStableDecay:
        if self.warmup + self.decay > 1 + 1e-9:
            raise ValueError(f"warmup and decay are {self.warmup + self.decay:g} of the phase together, more than all of it")
        if self.shape == "exponential" and self.floor == 0:
            raise ValueError("an exponential decay never reaches 0: set floor above 0, for example 0.1")
        return self

    def factor(self, progress: Progress, peak: float) -> float:
        """Above 0 up to 1; see windtunnel.kits.optim.curves for where on the curve a step is read."""
        rising = rise(progress, self.warmup) if self.warmup_tokens is None else rise_over(progress, self.warmup_tokens)
        if rising is not None:
            return rising
        if not self.decay or progress.done <= 1 - self.decay:
            return 1.0
        return fall(self.shape, along(progress, 1 - self.decay, 1.0), 1.0, self.floor)
