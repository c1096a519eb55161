"""The power scheduler."""

from __future__ import annotations

import math

from pydantic import Field, model_validator

from windtunnel.kits.optim.curves import rise
from windtunnel.slots import Progress, Schedule

UNIT = 4096  # tokens in one of the sequences that the paper counts the batch in; its a = 4 holds for this unit only


class Power(Schedule, name="power"):
    """A rate that depends on the tokens seen and on the batch, not on how long the run will be.

    Shen et al. 2024, arXiv:2408.13359: rate(n) = min(peak, batch * a * n ** b) after n tokens, the batch in sequences of 4096
    tokens (here from the tokens of one step, so that short sequences count for what they hold). The warm-up aims at the curve at its
    own end, not at the peak. Over the last ``decay`` of the phase the rate is multiplied by an exponential that falls to ``floor``;
    the paper does not write it out, so it is A exp(-u) + B, with A and B such that it begins at 1 and ends at the floor.

    The paper's peak is 0.02 under muP; the peak is the optimizer's learning rate. Where the peak is below the curve all along, this
    is a constant rate.
    """

    a: float = Field(4.0, gt=0, description="height of the curve, fitted with the batch in sequences of 4096 tokens")
    b: float = Field(-0.51, le=0, description="exponent of the tokens seen")
    warmup: float = Field(0.02, ge=0, lt=1, description="share of the phase that warms up")
    decay: float = Field(0.1, ge=0, le=1, description="share of the phase, at its end, that decays (0: none)")
    floor: float = Field(0.0, ge=0, le=1, description="where the decay ends, as a share of the curve where it began")
    tokens_before: float = Field(0.0, ge=0, description="tokens seen before this phase, for a phase that continues another one")

    @model_validator(mode="after")
    def _possible(self) -> Power:
        if self.warmup + self.decay > 1 + 1e-9:
            raise ValueError(f"warmup and decay are {self.warmup + self.decay:g} of the phase together, more than all of it")
        return self

    def factor(self, progress: Progress, peak: float) -> float:
        """Above 0 up to 1; see windtunnel.kits.optim.curves for where on the curve a step is read."""
        total = progress.steps * progress.step_tokens

        def curve(tokens: float) -> float:
            # Before the first token the power is infinite; the first step is read at its own end.
            seen = self.tokens_before + max(tokens, progress.step_tokens)
            return min(1.0, progress.step_tokens / UNIT * self.a * seen**self.b / peak)

        rising = rise(progress, self.warmup)
        if rising is not None:
            return rising * curve(self.warmup * total)
        if not self.decay or progress.done <= 1 - self.decay:
            return curve(progress.tokens)
        u = min(1.0, (progress.done - (1 - self.decay)) / self.decay)
        end = math.exp(-1)
        return curve((1 - self.decay) * total) * (self.floor + (1 - self.floor) * (math.exp(-u) - end) / (1 - end))
