"""Looking at a comparison several times without paying for it in false calls: boundaries, repeated intervals, and when to stop.

Whoever looks after 3, 6, 9 and 12 seeds and stops when it pleases has four chances to be wrong. Here the allowed error ``alpha`` is
spent over the looks (Lan and DeMets 1983, Biometrika 70; Jennison and Turnbull 2000, Group Sequential Methods): at each look the t
statistic of the paired differences is held against a boundary such that, if there is no difference, the chance to have crossed any
boundary so far is what has been spent so far. The *repeated interval*, ``mean +- boundary * sd / sqrt(n)``, then holds the truth at all
looks together with probability ``1 - alpha``, whatever the rule by which one stops. Verdicts are read from it as from any interval: an
arm is called when the interval excludes zero, and "no difference" when it lies within the margin, which is the sequential form of two
one-sided tests at ``alpha / 2`` each. An arm may also be given up when its chance of a verdict by the last look is small: that leaves it
undecided, so it can make no false call.

The boundaries are exact, not simulated. For normal differences whose mean is zero, the first ``n`` of them give
``V = sum / sqrt(n * sum of squares)``, a function of t alone, and V does not depend on the sum of squares (Basu). With ``m`` more, of
which V' and the sum of squares are independent too, the new V is a mean of V and V' with weights that follow a Beta law. So V is a
Markov chain on [-1, 1] whose law is carried from look to look by one-dimensional quadrature (compare Jennison and Turnbull 1991,
Biometrika 78, on exact calculations for sequential t tests).

Few seeds say little about their own noise: at three, t has two degrees of freedom. What is known of the noise from elsewhere can be given
as ``freedom`` and ``sd`` of a prior (the moderated t of Smyth 2004, SAGMB 3): it acts as that many more degrees of freedom with a sum of
squares of ``freedom * sd ** 2``, so that it enters the chain above as dimensions that are there from the start, and the boundaries stay
exact. An arm whose own variance is higher than the prior allows is judged without it.

Why spending and not an e-process. With looks after 3, 6, 9 and 12 seeds at the 157 arms measured in the papers of this repository
(``benchmarks/racing.py``), spending alone decides 79 % of them with 7.8 seeds on average, for which a fixed number would need 10.5; the
best of four exact t e-processes (a normal mixture over the standardised effect) decides 72 % with 8.6 seeds, for which a fixed number
would need 7.3. What an e-process would allow in return, raising the number of seeds after having seen the result, is not allowed here.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import optimize, special

from windtunnel.study.statistics.compare import Interval, interval

SPENDING = 1.5  # alpha is spent as (n / most) ** SPENDING: between 1 and 2 the seeds to a verdict at equal power are fewest
DISAGREES = 0.01  # a variance that is exceeded this rarely under the prior is not of that prior
MOST_FREEDOM = 100.0  # that a prior counts for: boundaries of more are hardly lower, and beyond 200 the quadrature is too coarse
CELLS, NODES = 401, 24  # of the quadrature; boundaries are right to 4 digits


class Noise(NamedTuple):
    """What is known beforehand of the standard deviation of a seed's difference, worth ``freedom`` degrees of freedom (at most 100)."""

    sd: float
    freedom: float


def boundary(looks: Sequence[int], most: int, confidence: float, freedom: float = 0.0) -> float:
    """The boundary of the absolute t statistic at the last of ``looks``.

    Args:
        looks: numbers of pairs at the looks so far, rising, the first at least 2.
        most: the number of pairs at which all of ``1 - confidence`` may be spent.
        confidence: with which the intervals of all looks hold together.
        freedom: degrees of freedom of the prior; with them t is the moderated one.

    Raises ValueError for looks that do not rise.
    """
    return boundary_spending(looks, [(1 - confidence) * min(1.0, n / most) ** SPENDING for n in looks], freedom)


def boundary_spending(looks: Sequence[int], spent: Sequence[float], freedom: float = 0.0) -> float:
    """The boundary at the last of ``looks``, where ``spent`` is the error that may have been spent by each of them in all."""
    if looks[0] < 2 or any(later <= earlier for earlier, later in itertools.pairwise(looks)):
        raise ValueError(f"looks at {list(looks)} pairs: they must rise, from at least two pairs")
    return _stand(tuple(looks), tuple(spent), min(freedom, MOST_FREEDOM)).boundary


def repeated_confidence(looks: Sequence[int], most: int, confidence: float) -> float:
    """The confidence at which Student's interval of the last of ``looks`` is the repeated interval of all looks at ``confidence``."""
    return float(1 - 2 * special.stdtr(looks[-1] - 1, -boundary(looks, most, confidence)))


def repeated_interval(
    differences: Sequence[float], looks: Sequence[int], most: int, confidence: float, noise: Noise | None = None
) -> Interval:
    """The interval of the mean of ``differences``, which are those of the last look; ``sd`` is the one it rests on.

    With ``noise`` it is moderated; see :func:`agrees` for when it may be.
    """
    found = interval(differences, confidence)
    known = min(noise.freedom, MOST_FREEDOM) if noise else 0.0
    sd = moderated(found.sd, found.n, noise)
    half = boundary(looks, most, confidence, known) * sd / math.sqrt(found.n)
    return Interval(found.mean, found.mean - half, found.mean + half, found.n, sd)


def moderated(sd: float, n: int, noise: Noise | None) -> float:
    """The standard deviation of ``n`` numbers together with what was known before."""
    if noise is None:
        return sd
    known = min(noise.freedom, MOST_FREEDOM)
    return math.sqrt((known * noise.sd**2 + (n - 1) * sd**2) / (known + n - 1))


def agrees(sd: float, n: int, noise: Noise) -> bool:
    """Whether the spread of ``n`` differences is not higher than ``noise`` allows (an F test at 1 %).

    One that is lower leaves the prior in force: to drop it then would favour arms whose spread is small by luck.
    """
    return bool(special.fdtrc(n - 1, noise.freedom, (sd / noise.sd) ** 2) > DISAGREES)


def chance(found: Interval, ahead: int, half_width: float, margin: float, freedom: float) -> float:
    """The chance that the interval of the last look, ``half_width`` wide either way, will decide.

    Args:
        found: the interval now; its mean and sd are taken for what later seeds will be drawn from, their doubt included.
        ahead: the number of pairs at the last look.
        half_width: of the interval there, if the spread stays what it is.
        margin: of "no difference", in the unit of the metric.
        freedom: degrees of freedom that the spread rests on.
    """
    error = found.sd * math.sqrt(max(0.0, 1 / found.n - 1 / ahead))
    if error == 0:
        return float(abs(found.mean) > half_width or abs(found.mean) <= margin - half_width)

    def beyond(limit: float) -> float:
        """The chance of a mean above ``limit``."""
        return float(special.stdtr(freedom, (found.mean - limit) / error))

    called = beyond(half_width) + 1 - beyond(-half_width)
    within = max(0.0, beyond(half_width - margin) - beyond(margin - half_width)) if half_width < margin else 0.0
    return min(1.0, called + within)


# Boundaries ---------------------------------------------------------------------------------------------------------------------


class _Stand(NamedTuple):
    """After a look: its boundary, and the chain where it has not been crossed, as ``mass`` at angles ``asin(V)``."""

    boundary: float
    place: np.ndarray
    mass: np.ndarray


@functools.lru_cache(maxsize=1024)
def _stand(looks: tuple[int, ...], spent: tuple[float, ...], freedom: float) -> _Stand:
    """The chain after the last of ``looks``, where ``spent`` is the error spent by each in all."""
    now = looks[-1]
    if len(looks) == 1:
        first = now + freedom - 1
        found = float(-special.stdtrit(first, spent[0] / 2))
        end = math.atan(found / math.sqrt(first))
        edges = np.linspace(-end, end, CELLS + 1)
        return _Stand(found, (edges[1:] + edges[:-1]) / 2, np.diff(special.stdtr(first, math.sqrt(first) * np.tan(edges))))
    before = _stand(looks[:-1], spent[:-1], freedom)
    step = _Step(np.sin(before.place), before.mass, looks[-2], now, freedom)
    end = step.crossing((spent[-1] - spent[-2]) / 2)
    return _Stand(math.sqrt(now + freedom - 1) * math.tan(end), *step.carried(end))


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
            self.chord, weight = special.roots_jacobi(NODES, power, power)
            scale = special.beta(0.5, (self.m - 1) / 2) / 2
        self.weight = weight / (scale * special.beta(self.d / 2, self.m / 2))
        self.nodes, self.share = special.roots_legendre(NODES)

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
