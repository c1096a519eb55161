"""Probabilities of rare events at the end of a chain of common ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np

STRENGTHS = (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1)  # of the penalty, that are tried
FOLDS, ASKED = 3, 4000
RIDGE, LEAST = 1e-5, 1e-9  # what keeps weights finite where a few events can be told apart perfectly; the least probability


class RareEvents(Experiment, name="rare-events"):
    """How well the probability of a rare event is told that ends a chain of three: most rows stop before the middle, few reach the end.

    Faletto and Bien 2023, "Predicting Rare Events by Shrinking Towards Proportional Odds", arXiv:2305.18700. Rows are drawn whose chance to
    have come no farther than stage k is logistic in weights of their own for each k; between the stages a ``share`` of the weights differ.
    ``model`` says what is fitted: ``logistic``, of the last stage alone; ``proportional``, the same weights for both; ``fused``, weights of
    each with a penalty on the absolute values of their differences, whose strength is chosen by cross-validation.

    ``error`` is the root of the mean squared difference from the true probability of the last stage, over its mean; ``crossed`` the share
    of rows for which the fitted stages cross, so that a probability would be negative. Weights themselves are not penalised.
    """

    trial = Trial({"rows": 300, "width": 2})

    unit: ClassVar[str] = "share of the mean probability"

    model: Literal["fused", "logistic", "proportional"] = Field("fused", description="what is fitted")
    rows: int = Field(2500, ge=30, description="rows that it is fitted to")
    width: int = Field(10, ge=1, description="numbers in a row")
    share: float = Field(0.3, ge=0, le=1, description="share of the weights that differ between the stages, by 1 up or down")
    rarity: float = Field(4.0, description="offset of the last stage: its log-odds against, of a row in the middle")

    def measure(self, seed: int) -> dict[str, float]:
        """``error`` and ``crossed``."""
        import numpy as np

        random = np.random.default_rng(seed)
        first = random.uniform(-1, 1, self.width)
        differ = (random.random(self.width) < self.share) * random.choice([-1.0, 1.0], self.width)
        truth = np.concatenate([[0.0, self.rarity], first, differ])
        rows = random.uniform(-1, 1, (self.rows, self.width))
        reached = (random.random(self.rows)[:, None] > np.cumsum(stages(truth, rows)[0], axis=1)[:, :2]).sum(axis=1)
        asked = random.uniform(-1, 1, (ASKED, self.width))
        right = stages(truth, asked)[0][:, 2]
        if self.model == "logistic":
            found, crossed = self._last(rows, reached, asked), 0.0
        else:
            weights = self._fitted(rows, reached)
            odds, apart = stages(weights, asked)
            found, crossed = odds[:, 2], float((apart < LEAST).mean())
        return {"error": float(np.sqrt(((found - right) ** 2).mean()) / right.mean()), "crossed": crossed}

    def _last(self, rows: np.ndarray, reached: np.ndarray, asked: np.ndarray) -> np.ndarray:
        """The probability of the last stage for each of ``asked``, by a regression that knows no other."""
        import numpy as np
        from scipy.optimize import minimize
        from scipy.special import expit

        inputs, ends = np.column_stack([np.ones(len(rows)), rows]), reached == 2

        def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
            scores = inputs @ weights
            value = np.logaddexp(0, np.where(ends, -scores, scores)).mean() + RIDGE * (weights**2).sum()
            return float(value), inputs.T @ (expit(scores) - ends) / len(rows) + 2 * RIDGE * weights

        weights = minimize(loss, np.zeros(inputs.shape[1]), jac=True, method="L-BFGS-B").x
        found: np.ndarray = expit(np.column_stack([np.ones(len(asked)), asked]) @ weights)
        return found

    def _fitted(self, rows: np.ndarray, reached: np.ndarray) -> np.ndarray:
        import numpy as np

        if self.model == "proportional":
            return fit(rows, reached, None)
        fold = np.arange(len(rows)) % FOLDS
        costs = []
        for strength in STRENGTHS:
            fits = [fit(rows[fold != out], reached[fold != out], strength) for out in range(FOLDS)]
            costs.append(sum(cost(one, rows[fold == out], reached[fold == out])[0] for out, one in enumerate(fits)))
        return fit(rows, reached, STRENGTHS[int(np.argmin(costs))])


def stages(weights: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of the three stages [rows, 3], and how far apart the chances to have come no farther are [rows].

    ``weights`` are two offsets, the weights of the first stage, and by what those of the second differ. Where stages cross, the middle has
    the least probability there is.
    """
    import numpy as np
    from scipy.special import expit

    width = rows.shape[1]
    first, differ = weights[2 : 2 + width], weights[2 + width :]
    one, two = expit(weights[0] + rows @ first), expit(weights[1] + rows @ (first + differ))
    middle = np.maximum(two - one, LEAST)
    odds = np.stack([one, middle, np.maximum(1 - np.maximum(two, one), LEAST)], axis=1)
    return odds / odds.sum(axis=1, keepdims=True), two - one


def cost(weights: np.ndarray, rows: np.ndarray, reached: np.ndarray) -> tuple[float, np.ndarray]:
    """The mean cross entropy of the stages ``reached`` (0, 1 or 2) in nats, and its gradient."""
    import numpy as np
    from scipy.special import expit

    width = rows.shape[1]
    first, differ = weights[2 : 2 + width], weights[2 + width :]
    one, two = expit(weights[0] + rows @ first), expit(weights[1] + rows @ (first + differ))
    chance = np.maximum(np.choose(reached, [one, two - one, 1 - two]), LEAST)
    by_one = np.choose(reached, [1.0, -1.0, 0.0]) / chance * one * (1 - one)
    by_two = np.choose(reached, [0.0, 1.0, -1.0]) / chance * two * (1 - two)
    slope = np.concatenate([[by_one.sum(), by_two.sum()], rows.T @ (by_one + by_two), rows.T @ by_two])
    return float(-np.log(chance).mean()), -slope / len(rows)


def fit(rows: np.ndarray, reached: np.ndarray, strength: float | None) -> np.ndarray:
    """The weights (as in :func:`stages`) that cost least, with ``strength`` times the sum of absolute differences; None: no differences.

    A difference is one number that is not negative less another, so that its absolute value is smooth where it counts.
    """
    import numpy as np
    from scipy.optimize import minimize

    width = rows.shape[1]
    free = 2 + width
    shares = np.bincount(reached, minlength=3).cumsum()[:2] / len(rows)
    shares = np.clip(shares, 1e-3, 1 - 1e-3)
    begin = np.concatenate([np.log(shares / (1 - shares)), np.zeros(width if strength is None else 3 * width)])

    def loss(values: np.ndarray) -> tuple[float, np.ndarray]:
        up, down = values[free : free + width], values[free + width :]
        differ = np.zeros(width) if strength is None else up - down
        weights = np.concatenate([values[:free], differ])
        value, slope = cost(weights, rows, reached)
        value, slope = value + RIDGE * float((weights**2).sum()), slope + 2 * RIDGE * weights
        if strength is None:
            return value, slope[:free]
        ends = slope[free:]
        return value + strength * float((up + down).sum()), np.concatenate([slope[:free], strength + ends, strength - ends])

    bounds: Any = [(None, None)] * free + [(0, None)] * (len(begin) - free)
    found = minimize(loss, begin, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 300}).x
    return np.concatenate([found[:free], np.zeros(width) if strength is None else found[free : free + width] - found[free + width :]])
