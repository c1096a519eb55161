"""From the numbers of runs to intervals, compute gains and verdicts. Pure functions on plain numbers.

What is measured. Arm and baseline share seeds, so the difference of a seed's two runs is free of what they have in common, and the
interval of the mean difference is Student's t of these differences (Student 1908). Several arms make several chances to be wrong, so
every interval of a study of ``m`` arms is at confidence ``1 - (1 - confidence) / m`` (Bonferroni; Dunn 1961): all of them hold together
at the stated confidence, and intervals and verdicts never contradict each other, which a step-down procedure cannot promise.

The compute gain is the multiple of the study's budget at which the baseline reaches the arm's value. The baseline's curve runs in
straight pieces through the budgets it was flown at, over ``multiple ** -exponent`` with the exponent between 0 (the logarithm) and 1
that makes it straightest, so that a power law above an irreducible loss is read between budgets without the bias of a chord. The
interval of the gain is Fieller's (1954): a gain is inside if a paired t test does not tell the arm from the curve at that multiple. At
a fixed multiple the curve of a seed is a weighted mean of its runs, so the test is exact where noise is normal, needs no slope, no
inversion of a noisy curve and no monotone seed, and the interval contains 1 exactly when that of the difference contains 0. Beyond the
budgets flown nothing is extrapolated.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from scipy import special

Verdict = Literal["helps", "hurts", "no difference", "undecided", "failed"]
MOST_SEEDS = 1000  # more than anybody will fly: beyond it the answer is "no number of seeds"


class Interval(NamedTuple):
    """The mean of ``n`` numbers, its two-sided interval, and the standard deviation of one number (NaN for one)."""

    mean: float
    low: float
    high: float
    n: int
    sd: float


class Gain(NamedTuple):
    """A compute gain with its interval, all inside the multiples that the baseline was flown at.

    ``bounded`` says that the value itself lies beyond them: "at least" or "at most" ``value``. ``low_open`` and ``high_open`` say
    that the interval reaches beyond the lowest or highest multiple, so that its end there is a bound of the curve and not of the gain.
    """

    value: float
    low: float
    high: float
    bounded: Literal["at least", "at most"] | None
    low_open: bool
    high_open: bool


def adjusted_confidence(confidence: float, arms: int) -> float:
    """The confidence of each of ``arms`` intervals that hold together with at least ``confidence`` (Bonferroni)."""
    return 1 - (1 - confidence) / max(1, arms)


def interval(values: Sequence[float], confidence: float) -> Interval:
    """Student's t interval of the mean of ``values``. One value has infinite bounds; none raises ValueError."""
    numbers = np.asarray(values, dtype=float)
    if not numbers.size:
        raise ValueError("an interval needs at least one number")
    mean = math.fsum(numbers) / numbers.size
    if numbers.size == 1:
        return Interval(mean, -math.inf, math.inf, 1, math.nan)
    sd = float(np.std(numbers, ddof=1))
    half = _critical(confidence, numbers.size - 1) * sd / math.sqrt(numbers.size)
    return Interval(mean, mean - half, mean + half, numbers.size, sd)


def paired_interval(arm: Sequence[float], baseline: Sequence[float], confidence: float) -> Interval:
    """The interval of the mean of ``arm - baseline``; position ``i`` of both is the same seed.

    Raises ValueError for lengths that differ and for nothing to compare.
    """
    if len(arm) != len(baseline):
        raise ValueError(f"{len(arm)} values of the arm cannot be paired with {len(baseline)} of the baseline")
    return interval([one - other for one, other in zip(arm, baseline, strict=True)], confidence)


def verdict(difference: Interval, margin: float, better: str = "lower") -> Verdict:
    """What the interval of ``arm - baseline`` says, for a ``margin`` in the unit of the metric.

    "no difference" where the whole interval lies within the margin either way, even if it excludes zero: such an arm surely changes
    less than what the user calls a change (and the rate of false calls can only fall by this). Else "helps" or "hurts" where the
    interval excludes zero, else "undecided".
    """
    low, high = difference.low, difference.high
    if -margin <= low and high <= margin:
        return "no difference"
    if high < 0 or low > 0:
        return "helps" if (high < 0) == (better == "lower") else "hurts"
    return "undecided"


def required_seeds(sd: float, mean: float, margin: float, confidence: float, power: float = 0.8) -> int | None:
    """How many seeds decide, with probability ``power``, if ``mean`` and ``sd`` of a seed's difference are the true ones.

    Decided is an interval that excludes zero (noncentral t) or that lies within the margin (the usual t approximation of the power of
    two one-sided tests, Phillips 1990); the likelier of the two counts, so the number is on the safe side.

    Returns:
        The least such number, at least 2; None if ``sd`` is unknown or if more than 1000 would not do.
    """
    if not math.isfinite(sd) or not math.isfinite(mean):
        return None
    if sd == 0:
        return 2
    seeds = np.arange(2, MOST_SEEDS + 1)
    freedom = seeds - 1
    critical = special.stdtrit(freedom, (1 + confidence) / 2)
    error = sd / np.sqrt(seeds)
    shift = np.minimum(abs(mean) / error, 1e3)
    excludes_zero = special.nctdtr(freedom, -shift, -critical) + special.nctdtr(freedom, shift, -critical)
    # The series behind nctdtr ends in NaN far out, where the power is 1 for any purpose.
    excludes_zero = np.where(np.isfinite(excludes_zero), excludes_zero, shift > critical)
    within = special.stdtr(freedom, (margin - mean) / error - critical) + special.stdtr(freedom, (margin + mean) / error - critical) - 1
    (enough,) = np.nonzero(np.maximum(excludes_zero, within) >= power)
    return int(seeds[enough[0]]) if enough.size else None


def compute_gain(
    arm: Mapping[int, float], curve: Mapping[float, Mapping[int, float]], confidence: float, better: str = "lower"
) -> Gain | None:
    """The compute gain of ``arm`` (value by seed) against the baseline's ``curve`` (multiple of the budget: value by seed).

    The seeds that count are those that the arm and every multiple have (multiples without any run are left out). One seed gives the
    whole curve as the interval. Where the means of the baseline do not improve with budget, neighbours are pooled until they do
    (isotonic regression) to read off ``value``; where they do not improve at all, ``value`` is a bound. ``low`` to ``high`` is the
    smallest interval around every multiple that the test does not reject, so a curve lost in noise gives a wide one.

    Returns:
        None where fewer than two multiples or no common seed is left.
    """
    multiples = sorted(multiple for multiple, values in curve.items() if values)
    seeds = sorted(set(arm).intersection(*(curve[multiple] for multiple in multiples)))
    if len(multiples) < 2 or not seeds:
        return None
    sign = 1.0 if better == "lower" else -1.0
    # surplus[i, s]: how much worse than the arm the baseline at multiple i is, in the run of seed s; it falls along the curve.
    surplus = sign * np.array([[curve[multiple][seed] - arm[seed] for seed in seeds] for multiple in multiples])
    exponent = straightest(np.array(multiples), surplus.mean(axis=1))
    place = places_of(np.array(multiples), exponent)
    value, bounded = _crossing(place, _falling(surplus.mean(axis=1)))
    inside = [point for i in range(len(multiples) - 1) for point in _not_rejected(surplus[i], surplus[i + 1], place[i : i + 2], confidence)]
    low, high = min([value, *inside]), max([value, *inside])
    low_open = bool(bounded == "at most" or low <= place[0])
    high_open = bool(bounded == "at least" or high >= place[-1])

    def read(point: float) -> float:
        # The ends exactly, without the rounding of there and back.
        return multiples[0] if point <= place[0] else multiples[-1] if point >= place[-1] else _multiple(point, exponent)

    return Gain(read(value), read(low), read(high), bounded, low_open, high_open)


def compare(
    baseline: Mapping[float, Mapping[int, float]],
    arms: Mapping[str, Mapping[int, float]],
    *,
    confidence: float = 0.95,
    margin: float = 0.005,
    better: str = "lower",
    spent: Mapping[float, float] | None = None,
) -> dict[str, Any]:
    """A study's verdicts from the values of its runs.

    Args:
        baseline: the metric by multiple of the budget, then by seed. Multiple 1 is what arms are compared with.
        arms: the metric by arm, then by seed. Runs that failed are absent or not finite; only seeds that both have are paired.
        confidence: with which all intervals of arms hold together.
        margin: how large a change must be to matter, as a share of the baseline's mean.
        better: "lower" or "higher".
        spent: the FLOPs (any unit) truly spent at each multiple, where steps did not divide evenly; default: as the multiples say.

    Returns:
        ``{"confidence": of each interval, "margin": in the unit of the metric or None, "baseline": {"seeds", "mean", "low", "high",
        "curve": [{"multiple", "seeds", "mean", "low", "high"}]}, "arms": {name: {"seeds", "mean", "difference", "low", "high",
        "compute_gain": {"value", "low", "high", "bounded", "low_open", "high_open"}, "verdict", "required_seeds"}}}``. ``seeds`` of an
        arm counts pairs; its ``mean`` is over these. ``low`` and ``high`` of an arm bound the difference. ``required_seeds`` is set for
        an undecided arm, unless no number up to 1000 would do. What is unknown or infinite is None.
    """
    if better not in ("lower", "higher"):
        raise ValueError(f"better is lower or higher, not {better!r}")
    curve = {multiple: _finite(values) for multiple, values in baseline.items()}
    reference = curve.get(1, {})
    each = adjusted_confidence(confidence, len(arms))
    level = interval(list(reference.values()), confidence) if reference else None
    margin_absolute = margin * abs(level.mean) if level else None
    unit = (spent or {}).get(1, 1.0)
    measured = {((spent or {}).get(multiple, multiple * unit)) / unit: values for multiple, values in curve.items()}
    return {
        "confidence": each,
        "margin": margin_absolute,
        "baseline": {
            **_summary(reference, confidence),
            "curve": [{"multiple": multiple, **_summary(curve[multiple], confidence)} for multiple in sorted(curve)],
        },
        "arms": {name: _judge(_finite(values), reference, measured, each, margin_absolute, better) for name, values in arms.items()},
    }


def _judge(
    arm: dict[int, float],
    reference: dict[int, float],
    curve: dict[float, dict[int, float]],
    confidence: float,
    margin: float | None,
    better: str,
) -> dict[str, Any]:
    """The block of one arm in what :func:`compare` returns."""
    unknown = dict.fromkeys(Gain._fields)
    nothing = {"seeds": 0, "mean": None, "difference": None, "low": None, "high": None, "compute_gain": unknown, "required_seeds": None}
    if not arm:
        return {**nothing, "verdict": "failed"}
    seeds = sorted(set(arm) & set(reference))
    if not seeds or margin is None:
        return {**nothing, "mean": math.fsum(arm.values()) / len(arm), "verdict": "undecided"}
    difference = paired_interval([arm[seed] for seed in seeds], [reference[seed] for seed in seeds], confidence)
    gain = compute_gain(arm, curve, confidence, better)
    decision = verdict(difference, margin, better)
    required = required_seeds(difference.sd, difference.mean, margin, confidence) if decision == "undecided" else None
    return {
        "seeds": len(seeds),
        "mean": math.fsum(arm[seed] for seed in seeds) / len(seeds),
        "difference": difference.mean,
        "low": _number(difference.low),
        "high": _number(difference.high),
        "compute_gain": gain._asdict() if gain else unknown,
        "verdict": decision,
        # The estimate may say that as many seeds as were flown are enough; they were not.
        "required_seeds": None if required is None else max(required, len(seeds) + 1),
    }


def _summary(values: Mapping[int, float], confidence: float) -> dict[str, Any]:
    """Number of seeds, mean and interval of one set of runs."""
    if not values:
        return {"seeds": 0, "mean": None, "low": None, "high": None}
    found = interval(list(values.values()), confidence)
    return {"seeds": found.n, "mean": found.mean, "low": _number(found.low), "high": _number(found.high)}


def _finite(values: Mapping[int, float]) -> dict[int, float]:
    return {seed: float(value) for seed, value in sorted(values.items()) if value is not None and math.isfinite(value)}


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _critical(confidence: float, freedom: int) -> float:
    """The two-sided critical value of Student's t."""
    return float(special.stdtrit(freedom, (1 + confidence) / 2)) if freedom > 0 else math.inf


def places_of(multiples: np.ndarray, exponent: float) -> np.ndarray:
    """Multiples on the axis over which the curve is straight: ``(1 - multiple ** -exponent) / exponent``, at 0 the logarithm."""
    return (1 - multiples**-exponent) / exponent if exponent else np.log(multiples)


def _multiple(place: float, exponent: float) -> float:
    """The inverse of :func:`places_of`."""
    return (1 - exponent * place) ** (-1 / exponent) if exponent else math.exp(place)


def straightest(multiples: np.ndarray, curve: np.ndarray) -> float:
    """The exponent of :func:`places_of`, from 0 to 1, over which ``curve`` is closest to one straight line (two points: 0)."""
    if len(multiples) < 3 or np.ptp(curve) == 0:
        return 0.0
    exponents = np.linspace(0, 1, 41)
    places = np.array([places_of(multiples, exponent) for exponent in exponents])
    places -= places.mean(axis=1, keepdims=True)
    explained = (places @ (curve - curve.mean())) ** 2 / (places**2).sum(axis=1)
    return float(exponents[np.argmax(explained)])


def _falling(values: np.ndarray) -> np.ndarray:
    """The closest sequence (least squares) to ``values`` that never rises, by pooling adjacent violators."""
    pools: list[list[float]] = []
    for value in values:
        pools.append([float(value)])
        while len(pools) > 1 and np.mean(pools[-2]) < np.mean(pools[-1]):
            last = pools.pop()
            pools[-1] += last
    return np.array([np.mean(pool) for pool in pools for _ in pool])


def _crossing(place: np.ndarray, curve: np.ndarray) -> tuple[float, Literal["at least", "at most"] | None]:
    """Where the falling ``curve`` over ``place`` is zero: the middle of all such places, or the end beyond which it would be."""
    if curve[-1] > 0:
        return float(place[-1]), "at least"
    if curve[0] < 0:
        return float(place[0]), "at most"
    left, right = int(np.nonzero(curve >= 0)[0][-1]), int(np.nonzero(curve <= 0)[0][0])
    if curve[left] == 0:  # then left is the last zero and right the first
        return float(place[left] + place[right]) / 2, None
    return float(place[left] + (place[right] - place[left]) * curve[left] / (curve[left] - curve[right])), None


def _not_rejected(begin: np.ndarray, end: np.ndarray, place: np.ndarray, confidence: float) -> list[float]:
    """The ends of the set of places of one straight piece of the curve where the mean surplus is not told from zero.

    ``begin`` and ``end`` are the surplus of every seed at the two ends of the piece. At the share u between them its mean is linear
    and its variance quadratic in u, so the set is where a quadratic is not positive.
    """
    count = len(begin)
    if count == 1:
        return [float(place[0]), float(place[1])]
    slope = end - begin
    k = _critical(confidence, count - 1) ** 2 / count
    covariance = np.cov(begin, slope)
    p, q = begin.mean(), slope.mean()
    a, b, c = float(q * q - k * covariance[1, 1]), float(p * q - k * covariance[0, 1]), float(p * p - k * covariance[0, 0])
    found = [u for u, excess in ((0.0, c), (1.0, a + 2 * b + c)) if excess <= 0]
    root = b * b - a * c
    if root >= 0:
        # The pair of formulas that never subtracts two nearly equal numbers.
        both = -(b + math.copysign(math.sqrt(root), b))
        found += [top / bottom for top, bottom in ((both, a), (c, both)) if bottom]
    return [float(place[0] + u * (place[1] - place[0])) for u in found if 0 <= u <= 1]
