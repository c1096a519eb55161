"""Series foretold patch by patch, by stages that read them at several rates and were fitted to one family of series or to several."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from windtunnel.core.errors import PartError
from windtunnel.core.settings import Many
from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np

PATCH, LONG = 24, 4  # points of a patch, and patches of the longer forecast
FAMILIES = ("seasons", "trends", "returning", "regimes")
Stage = tuple[int, "np.ndarray", "np.ndarray"]  # points that it pools, random sums, weights


class PooledStages(Experiment, name="pooled-stages"):
    """The squared error on a family of series that nothing was fitted to, over that of repeating the last season.

    Liu et al. 2024 (GPHT), arXiv:2402.16516: a window is pooled by its largest of 8, then of 4, 2 and 1 points; each stage foretells every
    next patch at full rate from those before, what it foretold is taken out of the series, and the next stage goes on with the rest;
    forecasts add up. One model is fitted to a mixture of data sets and rolled out to any horizon. Here each stage is a ridge regression
    from the pooled ``context`` patches before, and ``wide`` rectified random sums of them, to the next one, in the place of a causal
    transformer. Windows are scaled by the mean and deviation of the patches that are read.

    ``families`` are those that are fitted, of the four kinds seasons, trends, returning (autoregressive) and regimes. The new family has
    two seasons of other lengths, a bend in its trend and autoregressive noise. ``own_scale`` weighs rows by the variance of their window,
    which is what a loss in the original scale does (series have scales from 0.1 to 10), as released. ``naive`` is repeating the last 24
    points: 1 by definition.

    Numbers are ``short``, the next patch; ``long``, the fourth of four that were rolled out; ``known``, the next patch of new series of
    the fitted families; and ``weights``, how many numbers are fitted.
    """

    trial = Trial({"series": 6, "families": ("seasons",)})

    unit: ClassVar[str] = "share of the error of repeating"

    pools: Many[int] = Field((8, 4, 2, 1), description="points of which each stage reads the largest, stage by stage")
    families: Many[str] = Field(FAMILIES, description="what is fitted")
    context: int = Field(3, ge=1, le=8, description="patches that are read")
    series: int = Field(80, ge=2, description="fitted series of all families together, 12 patches each")
    strength: float = Field(1.0, gt=0, description="of the ridge, per number that is read")
    wide: int = Field(100, ge=0, description="rectified random sums that each stage reads too")
    own_scale: bool = Field(False, description="whether rows weigh by the variance of their window")

    def measure(self, seed: int) -> dict[str, float]:
        """``short``, ``long``, ``known`` and ``weights``."""
        import numpy as np

        if not self.families or not set(self.families) <= set(FAMILIES):
            raise PartError(f"{self.name}: families are of {', '.join(FAMILIES)}; not {', '.join(self.families)}")
        if not self.pools or any(pool < 1 or PATCH % pool for pool in self.pools):
            raise PartError(f"{self.name}: pools divide the {PATCH} points of a patch; not {', '.join(map(str, self.pools))}")
        judging, random = np.random.default_rng((seed, 1)), np.random.default_rng((seed, 2))
        count = max(2, round(self.series / len(self.families)))
        known = np.concatenate([drawn(family, random, count) for family in self.families])
        fitted = self._fitted(known, random)
        new = drawn("new", judging, 200)
        others = np.concatenate([drawn(family, judging, 50) for family in self.families])
        errors = []
        for some, patches in ((new, 1), (new, LONG), (others, 1)):
            given, true = some[:, : -LONG * PATCH], some[:, -LONG * PATCH :]
            foretold = self.rolled(fitted, given, patches)
            last = slice((patches - 1) * PATCH, patches * PATCH)
            scale = given.std(axis=1, keepdims=True)
            off = ((foretold[:, last] - true[:, last]) / scale) ** 2
            usual = ((given[:, -PATCH:] - true[:, last]) / scale) ** 2
            errors.append(float(off.mean() / usual.mean()))
        return {
            "short": errors[0],
            "long": errors[1],
            "known": errors[2],
            "weights": float(sum(weights.size for _, _, weights in fitted)),
        }

    def _fitted(self, series: np.ndarray, random: np.random.Generator) -> list[Stage]:
        """All stages, one after the other."""
        import numpy as np

        span = self.context * PATCH
        starts = range(0, series.shape[1] - span - PATCH + 1, PATCH)
        rows = np.concatenate([series[:, start : start + span + PATCH] for start in starts])
        middle, scale = rows[:, :span].mean(axis=1, keepdims=True), rows[:, :span].std(axis=1, keepdims=True) + 1e-6
        rows = (rows - middle) / scale
        weight = scale**2 / (scale**2).mean() if self.own_scale else np.ones_like(scale)
        left, fitted = rows, list[Stage]()
        for pool in self.pools:
            sums = random.standard_normal((span // pool, self.wide)) / (span // pool) ** 0.5
            inputs = read(left[:, :span], pool, sums)
            loaded = inputs * weight
            ridge = self.strength * inputs.shape[1] * np.eye(inputs.shape[1])
            weights = np.linalg.solve(loaded.T @ inputs + ridge, loaded.T @ left[:, span:])
            left = left - foretold_within(left, (pool, sums, weights), self.context)
            fitted.append((pool, sums, weights))
        return fitted

    def rolled(self, fitted: list[Stage], series: np.ndarray, patches: int) -> np.ndarray:
        """Forecasts [series, patches * PATCH], one patch after the other."""
        import numpy as np

        span, told = self.context * PATCH, series
        for _ in range(patches):
            given = told[:, -span:]
            middle, scale = given.mean(axis=1, keepdims=True), given.std(axis=1, keepdims=True) + 1e-6
            left = np.concatenate([(given - middle) / scale, np.zeros((len(given), PATCH))], axis=1)
            found = np.zeros((len(given), PATCH))
            for stage in fitted:
                step = foretold_within(left, stage, self.context)
                found, left = found + step[:, -PATCH:], left - step
            told = np.concatenate([told, found * scale + middle], axis=1)
        return told[:, series.shape[1] :]


def read(window: np.ndarray, pool: int, sums: np.ndarray) -> np.ndarray:
    """The largest of each ``pool`` points of windows [rows, points], and rectified ``sums`` [pooled, wide] of these."""
    import numpy as np

    pooled = window.reshape(len(window), -1, pool).max(axis=2)
    return np.concatenate([pooled, np.maximum(pooled @ sums, 0)], axis=1)


def foretold_within(window: np.ndarray, stage: Stage, context: int) -> np.ndarray:
    """What a stage foretells of every patch of windows [rows, (context + 1) * PATCH] from the patches before it, zeros before the first."""
    import numpy as np

    (pool, sums, weights), span = stage, context * PATCH
    padded = np.concatenate([np.zeros((len(window), span)), window], axis=1)
    parts = [read(padded[:, start : start + span], pool, sums) @ weights for start in range(0, span + PATCH, PATCH)]
    return np.concatenate(parts, axis=1)


def drawn(family: str, random: np.random.Generator, count: int) -> np.ndarray:
    """Series [count, 12 * PATCH] of a family, each with a scale of its own from 0.1 to 10."""
    import numpy as np

    points = 12 * PATCH
    time = np.arange(points)[None]

    def wave(periods: tuple[float, ...], each: float = 1.0) -> np.ndarray:
        period, begin = random.choice(periods, (count, 1)), random.uniform(0, 2 * np.pi, (count, 1))
        angle = 2 * np.pi * time / period + begin
        return each * (np.sin(angle) + random.uniform(0, 0.6, (count, 1)) * np.sin(2 * angle + begin))

    def returning(keeps: float) -> np.ndarray:
        noise, found = random.standard_normal((count, points)), np.zeros((count, points))
        for place in range(1, points):
            found[:, place] = keeps * found[:, place - 1] + noise[:, place]
        return found

    slope = random.standard_normal((count, 1)) * time / points
    if family == "seasons":
        found = wave((8.0, 12.0, 24.0)) + wave((48.0,), 0.5)
    elif family == "trends":
        found = 4 * slope + 0.5 * wave((12.0, 24.0))
    elif family == "returning":
        found = 0.5 * returning(0.95)
    elif family == "regimes":
        length = random.integers(20, 60, (count, 1))
        found = 1.5 * np.sign(np.sin(np.pi * time / length + random.uniform(0, 6, (count, 1)))) + 0.3 * wave((12.0,))
    else:
        bend = np.maximum(time - points * random.uniform(0.3, 0.7, (count, 1)), 0) / points
        found = wave((9.6, 16.0)) + wave((32.0,), 0.7) + 3 * random.standard_normal((count, 1)) * bend + 0.3 * returning(0.8)
    found = found + 0.15 * random.standard_normal(found.shape)
    return found * 10 ** random.uniform(-1, 1, (count, 1))
