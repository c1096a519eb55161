"""Whether the instrument keeps its promises: null studies resampled from a pool of real runs of one recipe. A pure function."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import special

from windtunnel.study.statistics.compare import compare

CALLS = ("helps", "hurts")


def calibrate(
    pool: Mapping[float, Sequence[float]],
    *,
    studies: int = 200,
    arms: int = 1,
    seeds: int = 3,
    confidence: float = 0.95,
    margin: float = 0.0,
    better: str = "lower",
    random_seed: int = 0,
) -> dict[str, Any]:
    """Fly ``studies`` studies whose truth is known, from runs that exist, and count how often the answer is wrong.

    ``pool`` holds the primary metric of runs of the *same* recipe by multiple of the budget (0.5, 1 and 2), one per seed, in the same
    order of seeds at every multiple. Every study draws its seeds without replacement: ``seeds`` for the baseline, the same at every
    multiple, and others for each arm, so that arm and baseline differ in nothing but seeds (paired as a study pairs them, though
    these pairs share nothing: the widest honest case). Three kinds of study are judged by :func:`.compare`:

    - null: ``arms`` arms of budget 1. A study with any arm called helpful or hurtful is a false call; the stated rate is
      ``1 - confidence``. ``margin`` 0 keeps "no difference" from hiding them.
    - one arm of budget 2, and one of 0.5: how often the compute gain's interval contains 2, and 0.5.

    The studies draw from one finite pool, so the intervals of the rates (Clopper & Pearson 1934, 95 %) speak of this pool.

    Returns:
        ``{"studies", "arms", "seeds", "confidence", "margin", "pool": {multiple: runs}, "stated_rate", "false_calls": RATE,
        "within_stated_rate", "gain": {"1": GAIN, "2": GAIN, "0.5": GAIN}}`` where RATE is ``{"count", "rate", "low", "high"}`` and GAIN
        is ``{"covered": RATE, "median", "low", "high"}``, the medians of value and interval ends over studies.
        ``within_stated_rate``: the rate's interval does not lie above the stated rate.

    Raises ValueError where a multiple is missing or has fewer runs than one study draws.
    """
    runs = {multiple: np.asarray(pool.get(multiple, ()), dtype=float) for multiple in (0.5, 1, 2)}
    needed = {0.5: 2 * seeds, 1: (1 + arms) * seeds, 2: 2 * seeds}
    for multiple, values in runs.items():
        if len(values) < needed[multiple]:
            raise ValueError(f"the pool has {len(values)} runs at {multiple} of the budget; one study draws {needed[multiple]}")
    random = np.random.default_rng(random_seed)
    shared = min(map(len, runs.values()))

    def study(count: int, budget: float) -> dict[str, Any]:
        """The arms' blocks of one study with ``count`` arms flown at ``budget``."""
        own = random.permutation(shared)[:seeds]
        others = random.permutation(np.setdiff1d(np.arange(len(runs[budget])), own))
        drawn = {f"arm {k}": dict(enumerate(runs[budget][others[k * seeds : (k + 1) * seeds]])) for k in range(count)}
        baseline = {multiple: dict(enumerate(values[own])) for multiple, values in runs.items()}
        return compare(baseline, drawn, confidence=confidence, margin=margin, better=better)["arms"]

    null = [study(arms, 1) for _ in range(studies)]
    false = _rate(sum(any(arm["verdict"] in CALLS for arm in found.values()) for found in null), studies)
    gains = {
        1.0: [next(iter(found.values())) for found in null],
        2.0: [study(1, 2)["arm 0"] for _ in range(studies)],
        0.5: [study(1, 0.5)["arm 0"] for _ in range(studies)],
    }
    return {
        "studies": studies,
        "arms": arms,
        "seeds": seeds,
        "confidence": confidence,
        "margin": margin,
        "pool": {f"{multiple:g}": len(values) for multiple, values in runs.items()},
        "stated_rate": 1 - confidence,
        "false_calls": false,
        "within_stated_rate": bool(false["low"] <= 1 - confidence),
        "gain": {f"{truth:g}": _gain([arm["compute_gain"] for arm in found], truth) for truth, found in gains.items()},
    }


def _gain(found: list[dict[str, float]], truth: float) -> dict[str, Any]:
    """How often the intervals hold ``truth``, and the interval of the median study."""
    covered = sum(gain["low"] <= truth <= gain["high"] for gain in found)
    median = {
        name: float(np.median([gain[key] for gain in found])) for name, key in (("median", "value"), ("low", "low"), ("high", "high"))
    }
    return {"covered": _rate(covered, len(found)), **median}


def _rate(count: int, trials: int) -> dict[str, Any]:
    """A count of ``trials`` as a share with its exact binomial interval at 95 %."""
    low = float(special.betaincinv(count, trials - count + 1, 0.025)) if count else 0.0
    high = float(special.betaincinv(count + 1, trials - count, 0.975)) if count < trials else 1.0
    return {"count": count, "rate": count / trials, "low": low, "high": high}
