"""Any other curve with a handful of numbers, fitted to many resamples at once; and the answer that every law gives.

A law is one file of one shape: a :class:`LawForm` that says what is predicted, and a function of a table that reads it, refuses what a fit
would hide, and calls :func:`fitted`. Sums of power laws have a faster fit of their own (:mod:`windtunnel.laws.power`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from windtunnel.core.errors import UserError, nearest
from windtunnel.laws.forecast import DRAWS, LawResult, LeftOut, intervals
from windtunnel.laws.power import resamples

STEPS = 150
NUDGE = 1e-6  # of a number, for its derivative
Variables = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class LawForm:
    """A form with numbers to be found.

    ``predict`` takes laws [problems, numbers] and variables [points], and gives [problems, points]. A number whose lower bound is above
    zero is searched by its logarithm. Residuals are those of the logarithm where ``relative``, else plain; beyond ``delta`` they count
    linearly (Huber), so that a few odd points do not decide.
    """

    formula: str
    bounds: Mapping[str, tuple[float, float]]
    predict: Callable[[np.ndarray, Variables], np.ndarray]
    begin: Callable[[Variables, np.ndarray], list[list[float]]]
    relative: bool = True
    delta: float = 0.02

    @property
    def names(self) -> tuple[str, ...]:
        """Of the numbers, in order."""
        return tuple(self.bounds)

    def at(self, law: LawResult | Mapping[str, float], **variables: float | np.ndarray) -> np.ndarray:
        """What ``law`` predicts at ``variables``, [points]."""
        found = {name: one.value for name, one in law.parameters.items()} if isinstance(law, LawResult) else law
        points = {name: np.atleast_1d(np.asarray(values, float)) for name, values in variables.items()}
        return self.predict(np.array([[found[name] for name in self.names]]), points)[0]


class Search:
    """One curve and one table; any number of weightings of its points are fitted together."""

    def __init__(self, curve: LawForm, variables: Variables, target: np.ndarray, hold: Mapping[str, float] | None = None) -> None:
        """``hold``: numbers that are known. Raises UserError for one that the law does not have, or beyond its bounds."""
        for name, value in (hold or {}).items():
            if name not in curve.bounds:
                raise UserError(f"the law has no number {name!r}; {nearest(name, curve.names)}")
            if not curve.bounds[name][0] <= value <= curve.bounds[name][1]:
                raise UserError(
                    f"{name} cannot be held at {value:g}; it lies between {curve.bounds[name][0]:g} and {curve.bounds[name][1]:g}"
                )
        self.curve, self.hold = curve, dict(hold or {})
        self.variables = {name: np.asarray(values, float) for name, values in variables.items()}
        self.target = np.asarray(target, float)
        self.log = np.array([low > 0 for low, _ in curve.bounds.values()])
        ends = np.array([[self.hold[name]] * 2 if name in self.hold else pair for name, pair in curve.bounds.items()], float).T
        self.low, self.high = self.inward(ends)
        self.free = self.high > self.low

    def inward(self, laws: np.ndarray) -> np.ndarray:
        """Logarithms where a number is searched by it."""
        return np.where(self.log, np.log(np.where(self.log, laws, 1.0)), laws)

    def laws(self, found: np.ndarray) -> np.ndarray:
        """The other way round: [problems, numbers]."""
        return np.where(self.log, np.exp(np.where(self.log, found, 0.0)), found)

    def residuals(self, found: np.ndarray) -> np.ndarray:
        """[problems, points]."""
        guess = self.curve.predict(self.laws(found), self.variables)
        return np.log(np.maximum(guess, 1e-12) / self.target) if self.curve.relative else guess - self.target

    def objective(self, found: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """The summed Huber loss of each problem."""
        size = np.abs(self.residuals(found))
        inner = np.minimum(size, self.curve.delta)
        return (weights * inner * (size - inner / 2)).sum(axis=1)

    def fit(self, weights: np.ndarray | None = None, begin: np.ndarray | None = None) -> np.ndarray:
        """The best of each problem [problems, numbers] from every row of ``begin``, by default those of the curve."""
        weights = np.ones((1, len(self.target))) if weights is None else weights
        starts = self.inward(np.array(self.curve.begin(self.variables, self.target))) if begin is None else begin
        each = len(starts)
        found, value = self.minimise(np.tile(starts, (len(weights), 1)), np.repeat(weights, each, axis=0))
        best = value.reshape(-1, each).argmin(axis=1)
        return found.reshape(-1, each, len(self.low))[np.arange(len(weights)), best]

    def minimise(self, begin: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """From each row down to a minimum within the bounds: damped steps of reweighted squares."""
        found = np.clip(begin, self.low, self.high)
        value, damping = self.objective(found, weights), np.full(len(found), 1e-2)
        active, idle = np.arange(len(found)), np.zeros(len(found), int)
        for _ in range(STEPS):
            if not len(active):
                break
            now = found[active]
            tried = np.clip(now + self._step(now, weights[active], damping[active]), self.low, self.high)
            reached = self.objective(tried, weights[active])
            better = reached < value[active]
            small = value[active] - reached <= 1e-10 * value[active]
            found[active[better]], value[active[better]] = tried[better], reached[better]
            damping[active] = np.where(better, np.maximum(damping[active] / 5, 1e-10), damping[active] * 6)
            idle[active] = np.where(better & ~small, 0, idle[active] + 1)
            active = active[(idle[active] < 6) & (damping[active] < 1e8)]
        return found, value

    def _step(self, now: np.ndarray, weights: np.ndarray, damping: np.ndarray) -> np.ndarray:
        error = self.residuals(now)
        slopes = np.zeros((*error.shape, now.shape[1]))
        for place in np.flatnonzero(self.free):
            nudged = now.copy()
            step = NUDGE * np.maximum(1.0, np.abs(now[:, place]))
            step = np.where(now[:, place] + step > self.high[place], -step, step)
            nudged[:, place] += step
            slopes[:, :, place] = (self.residuals(nudged) - error) / step[:, None]
        counted = weights * np.minimum(1.0, self.curve.delta / np.maximum(np.abs(error), 1e-300))
        across = slopes.swapaxes(1, 2)
        normal = (across * counted[:, None, :]) @ slopes
        gradient = (across @ (counted * error)[..., None])[..., 0]
        held = ~self.free | ((now <= self.low) & (gradient > 0)) | ((now >= self.high) & (gradient < 0))
        open_ = (~held).astype(float)
        size = np.einsum("qii->qi", normal)
        ridge = np.where(held, 1.0, damping[:, None] * size + 1e-12 * size.max(axis=1, keepdims=True) + 1e-300)
        matrix = normal * open_[:, :, None] * open_[:, None, :] + ridge[:, :, None] * np.eye(now.shape[1])
        return np.clip(-np.linalg.solve(matrix, (gradient * open_)[..., None])[..., 0], -3, 3)


def fitted(
    curve: LawForm,
    variables: Variables,
    target: np.ndarray,
    *,
    largest: str,
    groups: np.ndarray | None = None,
    hold: Mapping[str, float] | None = None,
    warnings: list[str] | None = None,
    draws: int = DRAWS,
) -> LawResult:
    """The law of these points, with all that a law answers with.

    Args:
        curve: the form.
        variables: by name, [points].
        target: what is predicted, [points].
        largest: the variable by which the largest points are left out and predicted from the others.
        groups: what is drawn together in the bootstrap, [points].
        hold: numbers that are known and not fitted.
        warnings: of reading the table.
        draws: bootstrap samples.

    Raises:
        UserError: where there are fewer points than numbers to find, with one to spare.
    """
    search = Search(curve, variables, target, hold)
    free = int(search.free.sum())
    if len(search.target) <= free:
        raise UserError(f"{len(target)} points are too few for {free} numbers; fly {free + 1 - len(target)} more")
    best = search.fit()
    kinds = len(target) if groups is None else len(set(groups))
    other = search.inward(np.array(curve.begin(search.variables, search.target)[:1]))
    drawn = search.fit(resamples(len(target), draws, groups), np.concatenate([best, other]))
    value, samples = search.laws(best)[0], search.laws(drawn)
    error = search.residuals(best)[0]
    told = list(warnings or ())
    if kinds < 10:
        told.append(f"an interval from {kinds} {'points' if groups is None else 'groups'} is too narrow; fly more of them")
    told += _loose(search, value, samples)
    spread = np.atleast_2d(np.cov(drawn[:, search.free].T))
    labels = [f"log {name}" if log else name for name, log, free_ in zip(curve.names, search.log, search.free, strict=True) if free_]
    return LawResult(
        law=curve.formula,
        parameters=intervals(curve.names, value, samples),
        covariance={a: dict(zip(labels, map(float, row), strict=True)) for a, row in zip(labels, spread, strict=True)},
        points=len(target),
        residual=float(np.sqrt((error**2).mean())),
        objective=float(search.objective(best, np.ones((1, len(target))))[0]),
        relative=curve.relative,
        largest_left_out=left_out(search, largest),
        warnings=told,
    )


def left_out(search: Search, largest: str) -> LeftOut | None:
    """The points of the largest value of a variable (or else the largest seventh), predicted from the others; None from too few."""
    at = search.variables[largest]
    out = at >= at.max() / 1.03
    if out.mean() < 0.05 and len(at) > 20:
        out = at >= np.quantile(at, 0.85)
    kept = {name: values[~out] for name, values in search.variables.items()}
    if (~out).sum() <= search.free.sum():
        return None
    again = Search(search.curve, kept, search.target[~out], search.hold)
    guess = search.curve.predict(again.laws(again.fit()), {name: values[out] for name, values in search.variables.items()})[0]
    error = guess / search.target[out] - 1 if search.curve.relative else guess - search.target[out]
    what = f"{largest} {at[out].min():.4g} and above" if out.sum() > 1 else f"{largest} {at.max():.4g}"
    return LeftOut(what=what, points=int(out.sum()), error=float(np.sqrt((error**2).mean())), bias=float(error.mean()))


def _loose(search: Search, value: np.ndarray, samples: np.ndarray) -> list[str]:
    """A warning for each number that the points do not determine."""
    low, high = np.percentile(samples, [2.5, 97.5], axis=0)
    told = []
    for place, (name, (least, most)) in enumerate(search.curve.bounds.items()):
        if not search.free[place]:
            continue
        at_bound = high[place] >= most - 1e-6 * abs(most) or (search.log[place] and low[place] <= least * (1 + 1e-6))
        wide = high[place] > 10 * low[place] if search.log[place] else high[place] - low[place] > 2 * max(abs(value[place]), 1e-9)
        if at_bound or wide:
            told.append(
                f"{name} is not identified: {value[place]:.4g}, and anything from {low[place]:.4g} to {high[place]:.4g} fits as well; fly "
                "points further apart before you rely on it"
            )
    return told
