"""Gaussian mixtures under diffusion: their scores are formulas, so samplers can be checked exactly.

A point is float64 [2]; noise of variance ``v`` is added to it (the variance-exploding process). The noised mixture is again one, of the
same means and weights, with ``v`` added to every covariance.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Target = Literal["annealed", "geometric", "product"]
REACH, CELLS, FINE = 8.0, 16, 12  # the plane that is looked at, cells on a side, and points on a side of each


@dataclass(frozen=True)
class Gaussians:
    """Weights [K], means [K, 2] and the variance of each round component [K]."""

    weights: Array
    means: Array
    variances: Array

    @classmethod
    def drawn(cls, random: np.random.Generator, components: int) -> Gaussians:
        """A mixture at random, with its components within 3 of the origin in each direction."""
        weights = random.dirichlet(np.full(components, 3.0))
        return cls(weights, random.uniform(-3, 3, (components, 2)), random.uniform(0.1, 0.4, components))

    @classmethod
    def average(cls, mixtures: tuple[Gaussians, ...]) -> Gaussians:
        """The one that takes each of ``mixtures`` equally often."""
        weights = np.concatenate([one.weights for one in mixtures]) / len(mixtures)
        return cls(weights, np.concatenate([one.means for one in mixtures]), np.concatenate([one.variances for one in mixtures]))

    def log_density(self, points: Array, noise: float = 0.0) -> Array:
        """[points], after noise of variance ``noise``."""
        return np.asarray(np.logaddexp.reduce(self._each(points, noise), axis=1))

    def score(self, points: Array, noise: float) -> Array:
        """The gradient of :meth:`log_density` [points, 2]."""
        each = self._each(points, noise)
        share = np.exp(each - np.logaddexp.reduce(each, axis=1, keepdims=True)) / (self.variances + noise)
        return np.asarray(share @ self.means - share.sum(axis=1, keepdims=True) * points)

    def _each(self, points: Array, noise: float) -> Array:
        variances = self.variances + noise
        squares = ((points[:, None, :] - self.means) ** 2).sum(axis=2)
        return np.asarray(np.log(self.weights) - np.log(2 * np.pi * variances) - squares / (2 * variances))


@dataclass(frozen=True)
class Combination:
    """What is to be sampled from: ``first`` to a power, times ``second`` to a power.

    ``annealed``: first^beta; ``geometric``: first^(1 - beta) second^beta, guidance where beta is above 1; ``product``: first second.
    """

    kind: Target
    first: Gaussians
    second: Gaussians
    beta: float

    @property
    def powers(self) -> tuple[float, float]:
        """Of the first and the second."""
        return {"annealed": (self.beta, 0.0), "geometric": (1 - self.beta, self.beta), "product": (1.0, 1.0)}[self.kind]

    def log_density(self, points: Array, noise: float = 0.0) -> Array:
        """Up to a constant: [points]."""
        one, other = self.powers
        return one * self.first.log_density(points, noise) + (other * self.second.log_density(points, noise) if other else 0.0)

    def drift_and_growth(self, points: Array, noise: float) -> tuple[Array, Array]:
        """The score that mixing gives [points, 2], and how fast the log-weight of each point grows by unit of noise taken away [points].

        Skreta et al. 2025, arXiv:2503.02819: mixed scores are those of the target at every noise, and yet do not carry one into the
        other; what they miss is this weight. Derived from the Fokker-Planck equation.
        """
        one, other = self.powers
        score = self.first.score(points, noise)
        if self.kind == "annealed":
            return one * score, 0.5 * one * (one - 1) * (score**2).sum(axis=1)
        second = self.second.score(points, noise)
        mixed = one * score + other * second
        if self.kind == "geometric":
            return mixed, 0.5 * other * (other - 1) * ((score - second) ** 2).sum(axis=1)
        return mixed, (score * second).sum(axis=1)


def masses(log_density: Callable[[Array], Array]) -> Array:
    """The share of a density in each cell of the plane: [cells, cells]."""
    side = CELLS * FINE
    middle = (np.arange(side) + 0.5) / side * 2 * REACH - REACH
    points = np.stack(np.meshgrid(middle, middle, indexing="ij"), axis=-1).reshape(-1, 2)
    found = log_density(points)
    density = np.exp(found - found.max()).reshape(CELLS, FINE, CELLS, FINE).sum(axis=(1, 3))
    return np.asarray(density / density.sum())


def shares(points: Array, weights: Array) -> Array:
    """The share of weighted points in each cell; what lies outside the plane counts in the cells at its edge."""
    places = np.clip(((points + REACH) / (2 * REACH) * CELLS).astype(int), 0, CELLS - 1)
    return np.asarray(np.bincount(places[:, 0] * CELLS + places[:, 1], weights, CELLS**2).reshape(CELLS, CELLS) / weights.sum())


def resampled(random: np.random.Generator, log_weights: Array) -> Array:
    """The places of points drawn by their weights, systematically: [points]."""
    weights = np.exp(log_weights - log_weights.max())
    ends = np.cumsum(weights / weights.sum())
    places = (random.random() + np.arange(len(ends))) / len(ends)
    return np.minimum(np.searchsorted(ends, places), len(ends) - 1)


def sampled(
    target: Combination,
    random: np.random.Generator,
    *,
    particles: int,
    steps: int,
    correct: Literal["none", "resample", "weigh"],
    clamp: float | None = None,
    matched: bool = True,
    noises: tuple[float, float] = (100.0, 1e-3),
) -> tuple[Array, Array]:
    """Points [particles, 2] and their weights [particles] after the noise is taken away in ``steps`` steps of equal ratio.

    ``correct``: not at all; with weights, drawn by after every step but the last; or with weights that are kept to the end. ``clamp``
    bounds the growth of a log-weight in a step about its mean. ``matched`` begins with points as the target has them at the most noise;
    otherwise with those of the first mixture, as a sampler does that is not told.
    """
    one, other = target.powers
    spread = noises[0] / (one + other) if matched else noises[0]
    points = random.standard_normal((particles, 2)) * np.sqrt(spread)
    log_weights = np.zeros(particles)
    if matched and correct != "none":  # what the Gaussian that it begins with is out by
        log_weights += target.log_density(points, noises[0]) + (points**2).sum(axis=1) / (2 * spread)
    levels = np.geomspace(*noises, steps + 1)
    for step, (above, below) in enumerate(pairwise(levels)):
        drift, growth = target.drift_and_growth(points, above)
        growth = (growth - growth.mean()) * (above - below)
        log_weights += growth if clamp is None else np.clip(growth, -clamp, clamp)
        points = points + drift * (above - below) + random.standard_normal(points.shape) * np.sqrt(above - below)
        if correct == "resample" and step < steps - 1:
            points, log_weights = points[resampled(random, log_weights)], np.zeros(particles)
    if correct == "none":
        log_weights = np.zeros(particles)
    return points, np.exp(log_weights - log_weights.max())
