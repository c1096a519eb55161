"""At how much text one way of training begins to win over another.

Fly a study whose arms are the two ways over shares of the text, named ``WAY-SHARE`` with the share in percent (``scratch-5``,
``scratch-25`` ...), then::

    windtunnel law crossover RESULT scratch continue [NUMBER]

NUMBER is what is compared on test (default: the study's own metric), lower being better unless the study says otherwise.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from windtunnel.core.errors import UserError, nearest
from windtunnel.study.lenient import as_result
from windtunnel.study.result import StudyResult

Curves = Mapping[int, Mapping[float, float]]  # by seed, then by share of the text


def crossover(one: Curves, other: Curves, *, better: str = "lower", draws: int = 2000, confidence: float = 0.95) -> dict[str, Any]:
    """Where the advantage of ``one`` over ``other`` becomes positive as the share of the text grows, and stays so.

    The mean advantage over the seeds that both have is drawn as straight lines over the logarithm of the share. The crossover is the
    last place where it goes from below zero to above; that of each bootstrap sample of the seeds (pairs kept together) gives the
    interval.

    Returns:
        ``shares``, ``advantage`` (mean, above zero where ``one`` is better) and ``by_seed``, ``seeds``; ``outcome``: ``crosses``,
        ``one always better``, ``other always better`` or ``one ahead and then behind``; ``crossover`` with ``value`` (None where it does
        not cross), ``low`` and ``high`` (None also where too few samples cross) and ``crossing``, the share of samples that do.

    Raises:
        UserError: for fewer than two shares, or without a seed that has all of them.
    """
    sign = 1.0 if better == "lower" else -1.0
    there = [{share for curve in curves.values() for share in curve} for curves in (one, other)]
    shares = sorted(there[0] & there[1])
    if len(shares) < 2:
        raise UserError(f"a crossover needs both ways at two shares of the text or more, not {len(shares)}")
    seeds = [seed for seed in sorted(one.keys() & other.keys()) if all(s in one[seed] and s in other[seed] for s in shares)]
    if not seeds:
        raise UserError("no seed has finished both ways at every share")
    gains = np.array([[sign * (other[seed][share] - one[seed][share]) for share in shares] for seed in seeds])
    logs = np.log(np.array(shares))
    mean = gains.mean(axis=0)
    found = _crossing(logs, mean)
    random = np.random.default_rng(0)
    drawn = (
        [_crossing(logs, gains[random.integers(len(seeds), size=len(seeds))].mean(axis=0)) for _ in range(draws)] if len(seeds) > 1 else []
    )
    places = [place for place in drawn if place is not None]
    low = high = None
    if found is not None and places and len(places) >= confidence * len(drawn):
        low, high = (float(math.exp(end)) for end in np.quantile(places, [(1 - confidence) / 2, (1 + confidence) / 2]))
    outcome = "crosses" if found is not None else _without(mean)
    return {
        "shares": shares,
        "advantage": mean.tolist(),
        "by_seed": dict(zip(seeds, gains.tolist(), strict=True)),
        "seeds": len(seeds),
        "outcome": outcome,
        "crossover": {
            "value": None if found is None else math.exp(found),
            "low": low,
            "high": high,
            "crossing": len(places) / len(drawn) if drawn else None,
        },
    }


def _crossing(logs: np.ndarray, gains: np.ndarray) -> float | None:
    """The last place where ``gains`` rises through zero; None where it ends below or never was below."""
    below = np.flatnonzero(gains < 0)
    if not len(below) or below[-1] == len(gains) - 1:
        return None
    last = int(below[-1])
    return float(logs[last] + (logs[last + 1] - logs[last]) * -gains[last] / (gains[last + 1] - gains[last]))


def _without(gains: np.ndarray) -> str:
    if (gains >= 0).all():
        return "one always better"
    return "other always better" if (gains <= 0).all() else "one ahead and then behind"


def curves(result: StudyResult | Mapping[str, Any], way: str, number: str | None = None) -> dict[int, dict[float, float]]:
    """The test number of every finished run of the arms ``WAY-SHARE`` at their budget, by seed and share (from 0 to 1).

    Raises:
        UserError: for a way without arms, or a number that no run has.
    """
    result = as_result(result)
    number = number or result.study.metric
    found: dict[int, dict[float, float]] = {}
    known: set[str] = set()
    numbers: set[str] = set()
    for run in result.runs:
        named = re.fullmatch(r"(.+)-([\d.]+)", run.arm)
        if named is None or run.multiple != 1 or not run.finished:
            continue
        known.add(named[1])
        if named[1] == way:
            numbers |= run.test.keys()
            if (value := run.test.get(number)) is not None:
                found.setdefault(run.seed, {})[float(named[2]) / 100] = value
    if way not in known:
        raise UserError(f"no finished arm is called {way}-SHARE; {nearest(way, known)}")
    if not found:
        raise UserError(f"no run of {way} measured {number}; {nearest(number, numbers)}")
    return found
