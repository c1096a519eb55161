"""Calibration of the instrument: null studies, and arms of twice and half the budget, resampled from a pool of real runs.

Flies one small recipe at half, one and two budgets with many seeds (runs are kept in windtunnel-out/, so that it can be interrupted),
then judges studies whose truth is known. ``python benchmarks/calibrate.py`` prints JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from windtunnel.core.keys import Variant
from windtunnel.recipe import recipe_from
from windtunnel.study.launch.local import fly_jobs
from windtunnel.study.launch.worker import Job
from windtunnel.study.statistics.calibration import calibrate
from windtunnel.train.run import prepare

OUT = Path("windtunnel-out")
SEEDS, MULTIPLES, STUDIES = 20, (0.5, 1.0, 2.0), 400


def recipe(multiple: float) -> Any:
    return recipe_from(
        {
            "corpus": {"prose": "builtin:docstrings"},
            "budget": {"flops": 2e11 * multiple},
            "tokenizer": {"vocabulary": 2048},
            "model": {"depth": 6},
            "evaluation_tokens": 1024,
            "test_tokens": 32768,
        }
    )


def main() -> dict[str, Any]:
    stream = prepare(recipe(1.0), OUT / "cache")
    jobs, places = [], {}
    for multiple in MULTIPLES:
        flight = recipe(multiple)
        for seed in range(SEEDS):
            key = flight.key(seed, Variant())
            places[multiple, seed] = folder = str(OUT / "runs" / key)
            jobs.append(Job(key, seed, flight.model_dump(mode="json"), str(stream.folder), folder, 2e11 * multiple))
    records = fly_jobs(jobs, on_event=lambda what, job, _: print(what, job.folder, file=sys.stderr) if what == "finished" else None)
    pool = {m: [records[places[m, seed]]["test"]["bits_per_byte"] for seed in range(SEEDS)] for m in MULTIPLES}
    found = {
        f"{arms} arms, {seeds} seeds": calibrate(pool, studies=STUDIES, arms=arms, seeds=seeds)
        for arms, seeds in ((1, 3), (1, 5), (2, 5), (3, 5))
    }
    return {"runs": len(jobs), "recipe": recipe(1.0).model_dump(mode="json"), "bits_per_byte": pool, "studies": found}


if __name__ == "__main__":
    json.dump(main(), sys.stdout, indent=1)
    print()
