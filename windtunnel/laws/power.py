"""Sums of power laws, such as L = E + A / N^alpha + B / D^beta, fitted to many resamples at once.

The fit is that of Hoffmann et al. 2022 (arXiv:2203.15556): the Huber loss of the logarithm's residuals, from many beginnings. The
logarithm of such a sum is a log-sum-exp of terms that are linear in what is fitted, so gradient and curvature are exact and cheap, and
one Newton step is taken for all beginnings and all resamples of a bootstrap together. The step is damped by the curvature of the
reweighted squares that lie above the Huber loss, so it always finds a way down.

Beginnings come from variable projection: with the exponents held, the coefficients of relative least squares are linear. Every pair of
exponents on a grid is tried for every resample, and the best places of the grid are polished.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

DELTA = 1e-3  # of the Huber loss, in the logarithm
HIGHEST = 3.0  # exponent
GRID = np.array([0.05, 0.1, 0.17, 0.25, 0.35, 0.5, 0.7, 1.0, 1.5])
BEGINNINGS = 6  # places of the grid that are polished for the fit; a resample polishes two and the fit's own
STEPS = 300
CHUNK = 40_000  # points x problems that are worked on together: what fits the processor's cache


@dataclass(frozen=True)
class Form:
    """Which terms a law has: the name of each coefficient, and the exponent's name of every variable that divides it."""

    terms: Mapping[str, Mapping[str, str]]

    @property
    def exponents(self) -> tuple[str, ...]:
        """Their names, each once."""
        return tuple(dict.fromkeys(name for powers in self.terms.values() for name in powers.values()))

    @property
    def names(self) -> tuple[str, ...]:
        """Of all that is fitted: coefficients, then exponents."""
        return (*self.terms, *self.exponents)

    def design(self, logs: Mapping[str, np.ndarray]) -> np.ndarray:
        """[terms, points, parameters]: the logarithm of each term is this times (log coefficients, exponents)."""
        points = len(next(iter(logs.values())))
        found = np.zeros((len(self.terms), points, len(self.names)))
        for number, powers in enumerate(self.terms.values()):
            found[number, :, number] = 1
            for variable, exponent in powers.items():
                found[number, :, self.names.index(exponent)] -= logs[variable]
        return found

    def predict(self, law: Mapping[str, float], variables: Mapping[str, np.ndarray]) -> np.ndarray:
        """The loss of ``law`` at ``variables`` (raw numbers)."""
        total = np.zeros(len(np.atleast_1d(next(iter(variables.values())))))
        for name, powers in self.terms.items():
            term = np.full_like(total, law[name])
            for variable, exponent in powers.items():
                term = term / np.asarray(variables[variable], float) ** law[exponent]
            total += term
        return total


CHINCHILLA = Form({"E": {}, "A": {"N": "alpha"}, "B": {"D": "beta"}})
COMPUTE = Form({"E": {}, "A": {"C": "alpha"}})


class Fitter:
    """One form and one table; any number of weightings of its points can be fitted together."""

    def __init__(self, form: Form, variables: Mapping[str, np.ndarray], loss: np.ndarray, *, delta: float = DELTA) -> None:
        """``variables`` and ``loss``: raw positive numbers [points]; ``delta``: of the Huber loss on the logarithm."""
        logs = {name: np.log(np.asarray(values, float)) for name, values in variables.items()}
        self.form, self.delta = form, delta
        self.middle = {name: float(values.mean()) for name, values in logs.items()}
        # Centred: at the middle a coefficient is what its term contributes there, which conditions the problem.
        self.design = form.design({name: values - self.middle[name] for name, values in logs.items()})
        self.target = np.log(np.asarray(loss, float))
        products = np.einsum("tpk,upl->tupkl", self.design, self.design)  # of two different terms both orders together
        products = products + products.transpose(0, 1, 2, 4, 3) * (1 - np.eye(len(self.design)))[:, :, None, None, None]
        self.products = products.reshape(*products.shape[:3], -1)
        terms = len(form.terms)
        least, most = float(self.target.min()), float(self.target.max())
        self.low = np.array([least - 14.0] * terms + [0.0] * len(form.exponents))
        self.high = np.array([most + 6.0] * terms + [HIGHEST] * len(form.exponents))
        for number, powers in enumerate(form.terms.values()):
            if not powers:
                self.low[number], self.high[number] = least - 7.0, least  # a constant is below every loss

    # From what is fitted to the law and back: rows are (log coefficients at the middle, exponents).

    def laws(self, found: np.ndarray) -> np.ndarray:
        """[problems, parameters] in raw units: coefficients, then exponents."""
        values = found.copy()
        for number, powers in enumerate(self.form.terms.values()):
            for variable, exponent in powers.items():
                values[:, number] += found[:, self.form.names.index(exponent)] * self.middle[variable]
        values[:, : len(self.form.terms)] = np.exp(values[:, : len(self.form.terms)])
        return values

    def rows(self, laws: np.ndarray) -> np.ndarray:
        """The other way round."""
        found = np.array(laws, float)
        found[:, : len(self.form.terms)] = np.log(found[:, : len(self.form.terms)])
        for number, powers in enumerate(self.form.terms.values()):
            for variable, exponent in powers.items():
                found[:, number] -= found[:, self.form.names.index(exponent)] * self.middle[variable]
        return found

    def residuals(self, found: np.ndarray) -> np.ndarray:
        """Residuals of the logarithm [problems, points]."""
        return self._terms(found)[1] - self.target

    def objective(self, found: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """The summed Huber loss of each problem."""
        return _huber(self.residuals(found), weights, self.delta)

    def begin(self, weights: np.ndarray, count: int) -> np.ndarray:
        """The ``count`` best places of the grid of exponents for each problem, [problems, count, parameters]."""
        places = np.array(list(itertools.product(GRID, repeat=len(self.form.exponents))))
        terms, points = self.design.shape[:2]
        basis = np.exp(np.einsum("tpe,ge->gpt", self.design[:, :, terms:], places))  # what multiplies each coefficient
        inverse = np.exp(-self.target)
        scaled = basis * inverse[None, :, None]  # the target is 1: relative squares
        normal = (weights @ np.einsum("gpt,gpu->pgtu", scaled, scaled).reshape(points, -1)).reshape(-1, len(places), terms, terms)
        right = (weights @ scaled.transpose(1, 0, 2).reshape(points, -1)).reshape(-1, len(places), terms)
        scale = np.sqrt(np.einsum("pgtt->pgt", normal))
        ridged = normal / (scale[..., None] * scale[..., None, :]) + 1e-9 * np.eye(terms)
        coefficients = np.linalg.solve(ridged, (right / scale)[..., None])[..., 0] / scale
        floor = 1e-3 * np.exp(self.target.min())
        coefficients = np.maximum(coefficients, floor)
        error = np.einsum("pgt,pgtu,pgu->pg", coefficients, normal, coefficients) - 2 * np.einsum("pgt,pgt->pg", right, coefficients)
        best = np.argsort(error, axis=1)[:, :count]
        chosen = np.take_along_axis(coefficients, best[..., None], axis=1)
        return np.concatenate([np.log(chosen), places[best]], axis=2)

    def fit(self, weights: np.ndarray | None = None, *, begin: np.ndarray | None = None, count: int = BEGINNINGS) -> np.ndarray:
        """The best law of each problem, [problems, parameters] as :meth:`laws` reads them.

        Args:
            weights: how often each point counts, [problems, points]; by default one problem that counts each once.
            begin: rows to begin from beside the grid, [beginnings, parameters].
            count: places of the grid that are polished.
        """
        weights = np.ones((1, len(self.target))) if weights is None else np.asarray(weights, float)
        each = max(1, CHUNK // len(self.target) // (count + (0 if begin is None else len(begin))))
        return np.concatenate([self._fit(weights[at : at + each], begin, count) for at in range(0, len(weights), each)])

    def _fit(self, weights: np.ndarray, begin: np.ndarray | None, count: int) -> np.ndarray:
        starts = self.begin(weights, count)
        if begin is not None:
            starts = np.concatenate([np.broadcast_to(begin, (len(weights), *begin.shape)), starts], axis=1)
        problems, each, parameters = starts.shape
        found, values = self.minimise(starts.reshape(-1, parameters), np.repeat(weights, each, axis=0))
        best = values.reshape(problems, each).argmin(axis=1)
        return found.reshape(problems, each, parameters)[np.arange(problems), best]

    def minimise(self, begin: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """From each row of ``begin`` down to a minimum within the bounds: rows and their summed Huber loss."""
        found = np.clip(begin, self.low, self.high)
        value = self.objective(found, weights)
        damping = np.full(len(found), 1e-2)
        active, idle = np.arange(len(found)), np.zeros(len(found), int)
        for _ in range(STEPS):
            if not len(active):
                break
            now, mine = found[active], weights[active]
            gradient, newton, damp = self._curvature(now, mine)
            step = self._step(now, gradient, newton, damp, damping[active])
            tried = np.clip(now + step, self.low, self.high)
            reached = self.objective(tried, mine)
            better = reached < value[active]
            small = value[active] - reached <= 1e-11 * value[active]
            found[active[better]], value[active[better]] = tried[better], reached[better]
            damping[active] = np.where(better, np.maximum(damping[active] / 5, 1e-9), damping[active] * 6)
            idle[active] = np.where(better & ~small, 0, idle[active] + 1)
            active = active[(idle[active] < 8) & (damping[active] < 1e9)]
        return found, value

    def _terms(self, found: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The share of each term [terms, problems, points] and the logarithm of their sum [problems, points]."""
        parts = np.exp(found @ self.design.transpose(0, 2, 1))  # the bounds keep it finite
        whole = parts.sum(axis=0)
        parts /= whole
        return parts, np.log(whole)

    def _curvature(self, found: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Gradient, Hessian, and the Hessian of the reweighted squares that lie above, of each problem."""
        shares, logarithm = self._terms(found)
        error = logarithm - self.target
        size = np.abs(error)
        slope = weights * np.clip(error, -self.delta, self.delta)
        inside = weights * (size <= self.delta) - slope
        above = weights * np.minimum(1.0, self.delta / np.maximum(size, 1e-300))
        gradient = np.zeros_like(found)
        newton = np.zeros((len(found), found.shape[1] ** 2))
        damp = np.zeros_like(newton)
        for one, share in enumerate(shares):
            bent = slope * share
            gradient += bent @ self.design[one]
            newton += bent @ self.products[one, one]
            for other in range(one + 1):
                both = share * shares[other]
                newton += (inside * both) @ self.products[one, other]
                damp += (above * both) @ self.products[one, other]
        square = (len(found), found.shape[1], found.shape[1])
        return gradient, newton.reshape(square), damp.reshape(square)

    def _step(self, found: np.ndarray, gradient: np.ndarray, newton: np.ndarray, damp: np.ndarray, damping: np.ndarray) -> np.ndarray:
        """The damped Newton step; what stands at a bound and would leave it stays."""
        held = ((found <= self.low) & (gradient > 0)) | ((found >= self.high) & (gradient < 0))
        free = (~held).astype(float)
        size = np.einsum("qkk->qk", damp)
        floor = 1e-9 * size.max(axis=1, keepdims=True) + 1e-300
        matrix = newton + damping[:, None, None] * damp
        matrix = matrix * free[:, :, None] * free[:, None, :]
        ridge = np.where(held, size.max(axis=1, keepdims=True), floor * (1 + damping[:, None]))
        matrix = matrix + ridge[:, :, None] * np.eye(found.shape[1])
        step = -np.linalg.solve(matrix, (gradient * free)[..., None])[..., 0]
        uphill = (step * gradient).sum(axis=1) > 0
        if uphill.any():  # not convex there: the reweighted squares are
            safe = damp[uphill] * (1 + damping[uphill, None, None]) * free[uphill, :, None] * free[uphill, None, :]
            safe = safe + ridge[uphill, :, None] * np.eye(found.shape[1])
            step[uphill] = -np.linalg.solve(safe, (gradient * free)[uphill][..., None])[..., 0]
        return np.clip(step, -3, 3)


def _huber(error: np.ndarray, weights: np.ndarray, delta: float) -> np.ndarray:
    size = np.abs(error)
    inner = np.minimum(size, delta)
    return (weights * inner * (size - inner / 2)).sum(axis=1)


def resamples(points: int, draws: int, groups: np.ndarray | None = None, *, seed: int = 0) -> np.ndarray:
    """How often each point is drawn in each of ``draws`` bootstrap samples, [draws, points]; points of a group are drawn together."""
    kinds, place = np.unique(np.arange(points) if groups is None else groups, return_inverse=True)
    drawn = np.random.default_rng(seed).multinomial(len(kinds), np.full(len(kinds), 1 / len(kinds)), size=draws)
    return drawn[:, place].astype(float)
