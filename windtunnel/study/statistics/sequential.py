"""Looking at a comparison several times without paying for it in false calls: boundaries, repeated intervals, and when to stop.

Whoever looks after 3, 6, 9 and 12 seeds and stops when it pleases has four chances to be wrong. Here the allowed error ``alpha`` is
spent over the looks (Lan and DeMets 1983, Biometrika 70; Jennison and Turnbull 2000, Group Sequential Methods): at look ``k`` the t
statistic of the paired differences is held against a boundary ``c[k]`` such that, if there is no difference, the chance to have crossed
any boundary so far is what has been spent so far. The *repeated interval* ``mean +- c[k] * sd / sqrt(n)`` then holds the truth at all
looks together with probability ``1 - alpha``, whatever the rule by which one stops. Verdicts are read from it as from any interval: an
arm is called when the interval excludes zero, and "no difference" when it lies within the margin, which is the sequential form of two
one-sided tests at ``alpha / 2`` each.

The boundaries are exact, not simulated. For normal differences whose mean is zero, the first ``n`` of them give
``V = sum / sqrt(n * sum of squares)``, a function of t alone, and V does not depend on the sum of squares (Basu). With ``m`` more, of
which V' and the sum of squares are independent too, ``V_new`` is a mean of V and V' with weights that follow a Beta law. So V is a
Markov chain on [-1, 1] whose law is carried from look to look by one-dimensional quadrature (compare Jennison and Turnbull 1991,
Biometrika 78, on exact calculations for sequential t tests).

Few seeds say little about their own noise: at three, t has two degrees of freedom. What is known of the noise from elsewhere can be given
as ``freedom`` and ``sd`` of a prior (the moderated t of Smyth 2004, SAGMB 3): it acts as that many more degrees of freedom of sum of
squares ``freedom * sd ** 2``, so that it enters the chain above as dimensions that are there from the start, and the boundaries stay
exact. An arm whose own variance is higher than the prior allows is judged without it.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import optimize, special

SPENDING = 1.0  # alpha is spent as (n / most) ** SPENDING
CELLS, TURNS, CHORD = 401, 24, 24  # of the quadrature


class Noise(NamedTuple):
    """What is known beforehand of the standard deviation of a seed's difference, worth ``freedom`` degrees of freedom."""

    sd: float
    freedom: float


def spent(looks: Sequence[int], most: int, alpha: float, rate: float = SPENDING) -> tuple[float, ...]:
    """The error that may have been spent by each look at that many seeds; the last look spends what is left."""
    return (*(alpha * min(1.0, n / most) ** rate for n in looks[:-1]), alpha)


@functools.lru_cache(maxsize=256)
def boundaries(looks: tuple[int, ...], spending: tuple[float, ...], freedom: float = 0.0) -> tuple[float, ...]:
    """The boundary of the absolute t statistic at each look.

    Args:
        looks: numbers of pairs, rising; the first at least 2 (with a prior at least 1).
        spending: the error spent by each look in all, rising, below 1.
        freedom: degrees of freedom of the prior; with them t is the moderated one.
    """
    first = looks[0] + freedom
    found = [float(-special.stdtrit(first - 1, spending[0] / 2))]
    end = _angle(found[0], first - 1)
    edges = np.linspace(-end, end, CELLS + 1)
    place = (edges[1:] + edges[:-1]) / 2
    mass = np.diff(special.stdtr(first - 1, math.sqrt(first - 1) * np.tan(edges)))
    for before, now, gone, in_all in zip(looks, looks[1:], spending, spending[1:], strict=False):
        step = _Step(np.sin(place), mass, before, now, freedom)
        end = step.crossing((in_all - gone) / 2)
        found.append(math.sqrt(now + freedom - 1) * math.tan(end))
        place, mass = step.carried(end)
    return tuple(found)


def _angle(t: float, freedom: float) -> float:
    """The place of a t statistic on the chain: ``asin(V)``."""
    return math.atan(t / math.sqrt(freedom)) if math.isfinite(t) else math.pi / 2


class _Step:
    """The chain from ``before`` pairs to ``now``, begun with ``mass`` at ``values`` of V.

    Seen from the new look, the data are a point on a sphere: ``rho`` is the length of what was there before and ``xi`` the share of
    the new sum, with density ``rho ** (d - 1) * (1 - rho ** 2 - xi ** 2) ** ((m - 3) / 2)`` on the half disk; V_new is linear in both,
    so that its law is an integral over chords of that disk.
    """

    def __init__(self, values: np.ndarray, mass: np.ndarray, before: int, now: int, freedom: float) -> None:
        self.m, self.d = now - before, before + freedom
        along, across = math.sqrt(before / now) * values, math.sqrt(self.m / now)
        self.reach = np.hypot(along, across)  # the largest V_new from each value
        self.cosine, self.sine = along / self.reach, across / self.reach
        self.mass = mass
        if self.m == 1:
            self.chord, weight, scale = np.array([-1.0, 1.0]), np.ones(2), 1.0
        else:
            power = (self.m - 3) / 2
            self.chord, weight = special.roots_jacobi(CHORD, power, power)
            scale = special.beta(0.5, (self.m - 1) / 2) / 2
        self.weight = weight / (scale * special.beta(self.d / 2, self.m / 2)) 
        self.nodes, self.share = special.roots_legendre(TURNS)

    def _density(self, turn: np.ndarray) -> np.ndarray:
        """Of the turn ``asin(V_new / reach)``, one row for each value."""
        level, half = np.sin(turn), np.cos(turn)
        rho = (self.cosine[:, None] * level)[..., None] - (self.sine[:, None] * half)[..., None] * self.chord
        return half ** (self.m - 1) * (np.maximum(rho, 0.0) ** (self.d - 1) @ self.weight)

    def _between(self, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Turns between two turns of each value, and the mass at each."""
        half = (high - low)[:, None] / 2
        turn = low[:, None] + half * (1 + self.nodes)
        return turn, self._density(turn) * half * self.share * self.mass[:, None]

    def beyond(self, angle: float) -> float:
        """The mass where V_new is above ``sin(angle)``."""
        low = np.arcsin(np.minimum(1.0, math.sin(angle) / self.reach))
        return float(self._between(low, np.full_like(low, math.pi / 2))[1].sum())

    def crossing(self, tail: float) -> float:
        """The angle above which there is mass ``tail``."""
        if tail <= 0:
            return math.pi / 2
        return float(optimize.brentq(lambda angle: self.beyond(angle) - tail, 0.0, math.pi / 2, xtol=1e-10))

    def carried(self, end: float) -> tuple[np.ndarray, np.ndarray]:
        """The mass that stays within ``end`` either way, on a grid of angles; means are kept by sharing mass between neighbours."""
        high = np.arcsin(np.minimum(1.0, math.sin(end) / self.reach))
        turn, mass = self._between(-high, high)
        place = np.linspace(-end, end, CELLS)
        at = (np.arcsin(np.sin(turn) * self.reach[:, None]) + end) / (2 * end) * (CELLS - 1)
        left = np.clip(np.floor(at).astype(int), 0, CELLS - 2)
        part = np.clip(at - left, 0.0, 1.0)
        count = np.bincount(left.ravel(), (mass * (1 - part)).ravel(), CELLS)
        return place, count + np.bincount(left.ravel() + 1, (mass * part).ravel(), CELLS)
