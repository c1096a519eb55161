"""Wall time of six pilots with two one-thread workers, one one-thread worker and one two-thread worker, interleaved.

``python benchmarks/launcher.py`` prints JSON. On a machine with other than two cores the numbers mean something else.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from windtunnel.core.keys import Variant
from windtunnel.recipe import recipe_from
from windtunnel.study.launch.local import Job, fly_jobs
from windtunnel.train.prepare import prepare

PILOTS, REPETITIONS = 6, 2


def recipe(steps: int) -> Any:
    return recipe_from(
        {
            "corpus": {"prose": "builtin:docstrings"},
            "budget": {"steps": steps},
            "model": {"depth": 8},
            "precision": "bfloat16",
            "evaluation_tokens": 2048,
            "test_tokens": 8192,
        }
    )


def wall(flight: Any, stream: Any, workers: int, threads: int) -> float:
    """Seconds for all pilots, starting the workers included."""
    with tempfile.TemporaryDirectory() as out:
        recipe = flight.model_dump(mode="json")
        jobs = [
            Job(flight.key(seed, Variant()), seed, recipe, str(stream.folder), str(Path(out) / str(seed)), 1.0) for seed in range(PILOTS)
        ]
        began = time.perf_counter()
        results = fly_jobs(jobs, workers=workers, threads=threads)
        seconds = time.perf_counter() - began
    if any(result["status"] != "finished" for result in results.values()):
        raise SystemExit(f"a pilot broke: {results}")
    return seconds


def main() -> dict[str, Any]:
    flight = recipe(20)
    with tempfile.TemporaryDirectory() as cache:
        stream = prepare(flight, Path(cache))
        settings = {"two_workers_one_thread": (2, 1), "one_worker_one_thread": (1, 1), "one_worker_two_threads": (1, 2)}
        times: dict[str, list[float]] = {name: [] for name in settings}
        for _ in range(REPETITIONS):
            for name, (workers, threads) in settings.items():
                times[name].append(wall(flight, stream, workers, threads))
    two = times["two_workers_one_thread"]
    return {
        "seconds": {name: statistics.median(values) for name, values in times.items()},
        "two_workers_over_one": statistics.median(a / b for a, b in zip(two, times["one_worker_one_thread"], strict=True)),
        "two_workers_over_two_threads": statistics.median(a / b for a, b in zip(two, times["one_worker_two_threads"], strict=True)),
        "pilots": PILOTS,
        "repetitions": REPETITIONS,
    }


if __name__ == "__main__":
    json.dump(main(), sys.stdout, indent=1)
    print()
