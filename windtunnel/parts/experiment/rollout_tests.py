"""Tests of whether one policy succeeds more often than another, looked at after every few rollouts."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, model_validator

from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    from typing import Self

    import numpy as np


class RolloutTests(Experiment, name="rollout-tests"):
    """How often a test says that two policies differ where they do not, and where they do, if it may stop at every look.

    The team of Toyota Research Institute 2025, arXiv:2507.05331, compares policies by blind rollouts in random order, with posteriors of
    their rates of success and tests that may be looked at early. Both policies of a comparison begin each rollout in the same place, and
    places are easy or hard: with ``alike`` the two outcomes of a place share that much of their luck.

    ``once`` is a z-test of two shares at the last rollout; ``peeking`` does it at every look, at the same level; ``posterior`` stops when
    one rate is larger with a probability of 1 - level / 2, under independent Beta(1, 1), so that one look tells as many apart as ``once``;
    ``paired`` counts the places where one succeeds alone and asks the exact binomial test, once; ``mixture`` is a sequential test of these
    places: the likelihood ratio of a rate drawn from Beta(1, 1) over a half, which crosses 1 / level with at most the probability ``level``
    however often one looks (Ville).

    The numbers are ``false``, the share of comparisons of equal policies that are told apart; ``found``, that of policies whose rates are
    ``apart``; and ``rollouts``, the mean number of rollouts of a policy until the answer where they are apart.
    """

    trial = Trial({"comparisons": 20})

    unit: ClassVar[str] = "share"

    test: Literal["once", "peeking", "posterior", "paired", "mixture"] = Field("once", description="the test")
    level: float = Field(0.05, gt=0, lt=1, description="false alarms that the test promises")
    rate: float = Field(0.5, gt=0, lt=1, description="success of the worse policy")
    apart: float = Field(0.2, gt=0, lt=1, description="how much better the other is")
    alike: float = Field(0.0, ge=0, le=1, description="share of its luck that a place gives to both policies")
    rollouts: int = Field(200, ge=10, description="of a policy at most")
    every: int = Field(10, ge=1, description="rollouts between two looks")
    comparisons: int = Field(1000, ge=10, description="simulated comparisons of each kind")

    @model_validator(mode="after")
    def _rates_are_shares(self) -> Self:
        if self.rate + self.apart > 1:
            raise ValueError(f"apart: a success of {self.rate:g} and {self.apart:g} more is over 1; take less of one of them")
        return self

    def measure(self, seed: int) -> dict[str, float]:
        """``false``, ``found`` and ``rollouts``."""
        import numpy as np

        random = np.random.default_rng(seed)
        none, _ = self._judged(self.outcomes(0.0, random))
        found, rollouts = self._judged(self.outcomes(self.apart, random))
        return {"false": float(none.mean()), "found": float(found.mean()), "rollouts": float(rollouts.mean())}

    def outcomes(self, apart: float, random: np.random.Generator) -> np.ndarray:
        """Successes, bool [2, comparisons, rollouts]."""
        import numpy as np

        shape = (self.comparisons, self.rollouts)
        shared, own = random.random(shape), random.random((2, *shape))
        luck = np.where(random.random(shape) < self.alike, shared, own)  # uniform for both policies
        return luck < np.array([self.rate, self.rate + apart])[:, None, None]

    def _judged(self, outcomes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Which comparisons are told apart, and after how many rollouts each ends."""
        import numpy as np

        looks = np.append(np.arange(self.every, self.rollouts, self.every), self.rollouts)
        if self.test in ("once", "paired"):
            looks = looks[-1:]
        counts = outcomes.cumsum(axis=2)[:, :, looks - 1]
        alone = np.stack([(outcomes[0] & ~outcomes[1]), (outcomes[1] & ~outcomes[0])]).cumsum(axis=2)[:, :, looks - 1]
        apart = {
            "once": lambda: two_shares(counts, looks) < self.level,
            "peeking": lambda: two_shares(counts, looks) < self.level,
            "posterior": lambda: larger(counts, looks, self.level),
            "paired": lambda: exact(alone) < self.level,
            "mixture": lambda: mixture_ratio(alone) > math.log(1 / self.level),
        }[self.test]()
        told = np.asarray(apart.any(axis=1))
        return told, np.where(told, looks[apart.argmax(axis=1)], self.rollouts)


def two_shares(counts: np.ndarray, rollouts: np.ndarray) -> np.ndarray:
    """Two-sided p-values of the z-test of two shares: ``counts`` [2, comparisons, looks] of ``rollouts`` [looks] each."""
    import numpy as np
    from scipy.special import ndtr

    pooled = counts.sum(axis=0) / (2 * rollouts)
    spread = np.sqrt(np.maximum(pooled * (1 - pooled) * 2 / rollouts, 1e-12))
    return np.asarray(2 * ndtr(-abs(counts[0] - counts[1]) / rollouts / spread))


def larger(counts: np.ndarray, rollouts: np.ndarray, level: float) -> np.ndarray:
    """Where the posterior probability that one share exceeds the other is over 1 - ``level`` / 2, both Betas taken as normal."""
    import numpy as np
    from scipy.special import ndtr

    first, total = counts + 1, rollouts + 2
    mean = first / total
    variance = mean * (1 - mean) / (total + 1)
    surely = ndtr((mean[1] - mean[0]) / np.sqrt(variance.sum(axis=0)))
    return np.asarray(np.maximum(surely, 1 - surely) > 1 - level / 2)


def exact(alone: np.ndarray) -> np.ndarray:
    """Two-sided p-values of the binomial test of a half (McNemar's exact test): ``alone`` [2, comparisons, looks]."""
    import numpy as np
    from scipy.stats import binom

    total, least = alone.sum(axis=0), alone.min(axis=0)
    return np.asarray(np.minimum(1, 2 * binom.cdf(least, total, 0.5)))


def mixture_ratio(alone: np.ndarray) -> np.ndarray:
    """The logarithm of the likelihood of ``alone`` [2, comparisons, looks] under a rate from Beta(1, 1) over that under a half."""
    import numpy as np
    from scipy.special import betaln

    return np.asarray(betaln(alone[0] + 1, alone[1] + 1) + alone.sum(axis=0) * math.log(2))
