"""The smallest change that matters, where the study does not say: what a tenth of the compute buys. A pure function."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from windtunnel.study.statistics.compare import paired_interval, places_of, straightest

COMPUTE = 0.1  # of the budget
SHARE = 0.005  # of the baseline's value, where its curve cannot tell
CONFIDENCE = 0.95  # with which the curve must be seen to improve


def margin_share(
    curve: Mapping[float, Mapping[int, float]], better: str = "lower", spent: Mapping[float, float] | None = None
) -> tuple[float, float | None]:
    """The margin as a share of the baseline's mean at its budget, and the share of compute that it is worth (None: not from the curve).

    The value is read between the baseline's means at the budget and at the next multiple flown, over the axis on which the compute gain
    is read, so that an arm at the margin has a compute gain of about 1.1.

    Args:
        curve, spent: as of :func:`windtunnel.study.statistics.compare.compare`; seeds that not every multiple has are left out.
    """
    multiples = sorted(multiple for multiple, values in curve.items() if values)
    above = [multiple for multiple in multiples if multiple > 1]
    seeds = sorted(set.intersection(*(set(curve[multiple]) for multiple in multiples))) if multiples else []
    if 1 not in multiples or not above or len(seeds) < 2:
        return SHARE, None
    sign = 1.0 if better == "lower" else -1.0
    at, beyond = ([sign * curve[multiple][seed] for seed in seeds] for multiple in (1, above[0]))
    gap = paired_interval(at, beyond, CONFIDENCE)
    unit = (spent or {}).get(1, 1.0)
    measured = np.array([(spent or {}).get(multiple, multiple * unit) / unit for multiple in multiples])
    level = abs(float(np.mean(at)))
    if gap.low <= 0 or not level or measured[multiples.index(above[0])] <= 1 + COMPUTE:
        return SHARE, None
    exponent = straightest(measured, np.array([np.mean([curve[multiple][seed] for seed in seeds]) for multiple in multiples]))
    one, more, upper = places_of(np.array([1.0, 1 + COMPUTE, measured[multiples.index(above[0])]]), exponent)
    return float(gap.mean * (more - one) / (upper - one)) / level, COMPUTE
