"""What is known of the noise of a seed's difference before a study is flown, from runs that were flown before. Pure functions.

Where runs of other settings share seeds with the baseline, each of these settings shows the variance of a seed's difference. How far
they spread beyond chance says how much one of them tells of the next: degrees of freedom of a prior, by moments of the log variances
(Smyth 2004, SAGMB 3, section 6.2). Where there are too few of them the spread between seeds of the baseline alone bounds it: two runs that
have nothing in common but their noise differ by sqrt(2) of it, and pairing can only help. A prior that is too wide costs seeds and makes
no false call.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy import optimize, special

from windtunnel.study.statistics.sequential import MOST_FREEDOM, Noise

Values = Mapping[int, float]  # by seed

LEAST_SEEDS = 8  # of the baseline, for a bound: with fewer, six more runs of the study itself say as much
LEAST_PAIRED = 3  # seeds that a setting has to share with the baseline
LEAST_SETTINGS = 5  # for a spread of variances
BOUND_FREEDOM = 3.0  # of the bound: what the arms of one paper here are worth to each other (benchmarks/racing.py)


class Known(NamedTuple):
    """``noise`` of a seed's difference; from how many ``seeds`` of the baseline, and ``settings`` paired with it (0: a bound)."""

    noise: Noise
    seeds: int
    settings: int


def noise_of_differences(baseline: Values, others: Sequence[Values]) -> Known | None:
    """What runs of ``baseline`` and of other settings with the same seeds say of the noise of a seed's difference.

    Returns:
        None where there are too few of both, or no noise at all.
    """
    paired = [np.array([other[seed] - baseline[seed] for seed in sorted(other.keys() & baseline.keys())]) for other in others]
    paired = [one for one in paired if len(one) >= LEAST_PAIRED and one.std() > 0]
    if len(paired) >= LEAST_SETTINGS:
        found = prior_of([float(one.var(ddof=1)) for one in paired], [len(one) - 1 for one in paired])
        return Known(found, len(baseline), len(paired))
    sd = float(np.std(list(baseline.values()), ddof=1)) if len(baseline) >= LEAST_SEEDS else 0.0
    return Known(Noise(math.sqrt(2) * sd, BOUND_FREEDOM), len(baseline), 0) if sd > 0 else None


def prior_of(variances: Sequence[float], freedoms: Sequence[float]) -> Noise:
    """The prior that ``variances``, each with its degrees of freedom, were drawn from.

    It is worth half as many degrees of freedom as there are variances, at most: of a few that are alike by chance nobody knows that the
    next is like them. So capped, 3 to 12 seeds of a further arm call 4 to 6 % falsely at a stated 5 %, where uncapped it is up to 7 %.
    """
    half = np.asarray(freedoms, dtype=float) / 2
    logs = np.log(np.asarray(variances, dtype=float)) - special.digamma(half) + np.log(half)
    excess = float(logs.var(ddof=1) - special.polygamma(1, half).mean())
    most = min(MOST_FREEDOM, len(logs) / 2)
    freedom = most
    if excess > special.polygamma(1, most / 2):
        freedom = 2 * float(optimize.brentq(lambda at: special.polygamma(1, at) - excess, 1e-4, most / 2))
    return Noise(math.exp((logs.mean() + special.digamma(freedom / 2) - math.log(freedom / 2)) / 2), freedom)
