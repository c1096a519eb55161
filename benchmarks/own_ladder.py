"""Whether `windtunnel forecast` foretells the larger sizes of our own ladders, and orders their arms better than the rank at one size does.

``python benchmarks/own_ladder.py [FOLDER]`` prints JSON from the results of ``studies/ladder.yaml`` at several sizes, in studies/results:
ladder-SIZE-CORPUS.json. Of each corpus every beginning of the ladder, of two sizes or more, forecasts every size of at least 8 times its
compute; bands take three sizes. Each finished run of an arm at that size is one forecast of a loss, and the runs of an arm at a size are a
cluster. A pair of arms counts where the paired difference of their seeds at the target excludes zero with 95 percent.
"""

from __future__ import annotations

import itertools
import json
import statistics
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from law_calibration import BEYOND, judged

from windtunnel.laws.decision import expected, forecast
from windtunnel.study.lenient import as_result
from windtunnel.study.result import BASELINE, StudyResult
from windtunnel.study.results import read_result
from windtunnel.study.statistics.compare import paired_interval

DRAWS = 2000


def ladders(folder: Path) -> dict[str, list[StudyResult]]:
    """The results of each corpus, the smallest first."""
    found: dict[str, list[StudyResult]] = defaultdict(list)
    for file in folder.glob("ladder-*.json"):
        found[file.stem.split("-", 2)[2]].append(as_result(read_result(file)))
    return {corpus: sorted(several, key=spent) for corpus, several in sorted(found.items())}


def spent(result: StudyResult) -> float:
    """FLOPs of the baseline at its budget."""
    return statistics.fmean(run.totals.flops or 0.0 for run in result.runs if run.arm == BASELINE and run.multiple == 1 and run.finished)


def values(result: StudyResult, arm: str) -> dict[int, float]:
    """The metric at the budget, by seed."""
    runs = (run for run in result.runs if run.arm == arm and run.multiple == 1 and run.finished)
    found = ((run.seed, run.test.get(result.study.metric)) for run in runs)
    return {seed: value for seed, value in found if value is not None}


def losses(cluster: str, target: StudyResult, told: Any) -> list[dict[str, Any]]:
    """A forecast of each run of ``target``."""
    found = []
    for arm in told.bands:
        band = expected(told, arm)
        for value in values(target, arm).values() if band else ():
            error, half = float(np.log(band.value / value)), float(np.log(band.high / band.low) / 2)
            found.append({"cluster": f"{cluster}/{arm}", "error": error, "half": half, "held": band.low <= value <= band.high})
    return found


def pairs(target: StudyResult, told: Any) -> list[dict[str, Any]]:
    """Whether each decided pair of ``target`` stands as was forecast, and as at the largest size seen."""
    found = []
    for one, other in itertools.combinations(told.order, 2):
        mine, theirs = values(target, one), values(target, other)
        seeds = sorted(mine.keys() & theirs.keys())
        apart = paired_interval([mine[seed] for seed in seeds], [theirs[seed] for seed in seeds], 0.95)
        if apart.low <= 0 <= apart.high:
            continue
        ranks = told.rank_at_one_scale
        found.append(
            {
                "pair": ", ".join(sorted((one, other))),
                "forecast": apart.mean < 0,  # `one` comes first in the order
                "rank": (ranks.index(one) < ranks.index(other)) == (apart.mean < 0),
            }
        )
    return found


def main(folder: Path) -> dict[str, Any]:
    told: dict[str, list[dict[str, Any]]] = defaultdict(list)
    order: list[dict[str, Any]] = []
    brier = []
    for corpus, rungs in ladders(folder).items():
        for seen in range(2, len(rungs)):
            for target in (one for one in rungs[seen:] if spent(one) >= BEYOND * spent(rungs[seen - 1])):
                found = forecast(rungs[:seen], spent(target))
                told[corpus] += losses(f"{corpus}/{target.study.name}", target, found)
                order += [{"cluster": f"{corpus}/{one['pair']}", **one} for one in pairs(target, found)]
                base = statistics.fmean(values(target, BASELINE).values())
                for name, arm in found.arms.items():
                    if arm.better is not None:
                        better = statistics.fmean(values(target, name).values()) < base
                        brier.append((arm.better - better) ** 2)
    if not order:
        raise SystemExit(
            f"{folder}: no ladder-SIZE-CORPUS.json at three sizes, the last of at least {BEYOND:g} times the compute of the second"
        )
    ours, ranks = (np.array([one[key] for one in order], float) for key in ("forecast", "rank"))
    whole = [one for several in told.values() for one in several]
    clusters = sorted({one["cluster"] for one in order})
    places = [[number for number, one in enumerate(order) if one["cluster"] == cluster] for cluster in clusters]
    random = np.random.default_rng(0)
    drawn = [np.concatenate([places[pick] for pick in random.integers(len(places), size=len(places))]) for _ in range(DRAWS)]
    apart = [float((ours[rows] - ranks[rows]).mean()) for rows in drawn]
    return {
        "sizes": {corpus: [one.baseline.parameters for one in rungs] for corpus, rungs in ladders(folder).items()},
        "intervals of 80 percent": {
            name: judged(mine, [one for other, several in told.items() if other != name for one in several] or mine)
            for name, mine in [("all", whole), *told.items()]
            if mine
        },
        "order": {
            "pairs": len(order),
            "forecast": float(ours.mean()),
            "rank at one scale": float(ranks.mean()),
            "difference": float((ours - ranks).mean()),
            "interval over pairs of arms": [float(end) for end in np.percentile(apart, [2.5, 97.5])],
        },
        "probability of being better than the baseline": {"forecasts": len(brier), "Brier score": statistics.fmean(brier)},
    }


if __name__ == "__main__":
    json.dump(main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1] / "studies" / "results"), sys.stdout, indent=1)
    print()
