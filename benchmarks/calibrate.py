"""Calibration of the primary metrics: null studies, and arms of twice and half the budget, resampled from a pool of real runs.

``python benchmarks/calibrate.py [STUDY|RESULT ...]`` prints JSON, an entry for each study beside those that are in the committed result. A
study of ``benchmarks/null`` (default: the one of text) flies one small recipe at half, one and two budgets with many seeds; its runs are
kept in windtunnel-out/, so that it can be interrupted. The result of one that has been flown is taken as it is. Then studies whose truth
is known are judged by its primary metric.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from windtunnel.study.file import load_study
from windtunnel.study.fly import fly_study
from windtunnel.study.result import BASELINE
from windtunnel.study.results import read_result
from windtunnel.study.statistics.calibration import calibrate

FOLDER, OUT = Path(__file__).parent / "null", Path("windtunnel-out")
KNOWN = Path(__file__).parent / "results" / "calibrate.json"
STUDIES, SHAPES = 400, ((1, 3), (1, 5), (2, 5), (3, 5))  # how many are resampled, and their arms and seeds


def pool(result: Any) -> dict[float, list[float]]:
    """The primary metric of the baseline's runs by multiple of the budget, in the order of seeds, of seeds that finished at every one."""
    metric = result["study"]["metric"]
    found: dict[float, dict[int, float]] = {}
    for run in result["runs"]:
        if run["arm"] == BASELINE and run["status"] == "finished":
            found.setdefault(run["multiple"], {})[run["seed"]] = run["test"][metric]
    seeds = sorted(set.intersection(*map(set, found.values())))
    return {multiple: [runs[seed] for seed in seeds] for multiple, runs in found.items()}


def judged(given: str) -> tuple[str, dict[str, Any]]:
    """The name of the study that ``given`` is the file or the result of, and what came of it."""
    if given.endswith((".yaml", ".yml")):
        study = load_study(given)
        fly_study(study, OUT)
        result = read_result(OUT / "studies" / study.name / "result.json")
    else:
        result = read_result(Path(given))
    runs, about = pool(result), result["study"]
    better = about.get("better", "lower")
    found = {
        f"{arms} arms, {seeds} seeds": calibrate(runs, studies=STUDIES, arms=arms, seeds=seeds, better=better) for arms, seeds in SHAPES
    }
    told = {"runs": sum(map(len, runs.values())), "metric": about["metric"], "recipe": result["recipes"][BASELINE]}
    return about["name"], {**told, "pool": runs, "studies": found}


if __name__ == "__main__":
    known = json.loads(KNOWN.read_text())["result"] if KNOWN.is_file() else {}
    json.dump(known | dict(map(judged, sys.argv[1:] or [str(FOLDER / "text.yaml")])), sys.stdout, indent=1)
    print()
