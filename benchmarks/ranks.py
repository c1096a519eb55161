"""Tokens per second of two ranks with one thread each over those of one process with two threads and with one, interleaved.

``python benchmarks/ranks.py`` prints JSON. Each side is the command ``windtunnel train`` with its own stopwatch, evaluation left out.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

STEPS, BATCH, CONTEXT, REPETITIONS = 40, 16, 256, 3
SIDES = {"one_thread": ["--threads", "1"], "two_threads": ["--threads", "2"], "two_ranks": ["--ranks", "2", "--threads", "1"]}
RECIPE = {
    "corpus": {"prose": "builtin:docstrings"},
    "budget": {"steps": STEPS},
    "model": {"depth": 8},
    "batch": BATCH,
    "context": CONTEXT,
    "precision": "float32",
    "compile": "no",
    "evaluate_every": 1.0,
    "evaluation_tokens": 2048,
    "test_tokens": 2048,
}


def seconds(folder: Path, name: str, options: list[str]) -> float:
    """Of training, as the run's record has them."""
    words = [sys.executable, "-m", "windtunnel.commands.main", "train", str(folder / "recipe.yaml"), "--out", str(folder / name), *options]
    subprocess.run([*words, "--cache", str(folder / "cache")], check=True, capture_output=True)
    lines = [json.loads(line) for line in (folder / name / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    return float(lines[-1]["seconds"] - lines[0]["seconds"])


def main() -> dict[str, Any]:
    times: dict[str, list[float]] = {name: [] for name in SIDES}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "recipe.yaml").write_text(yaml.safe_dump(RECIPE), encoding="utf-8")
        for repetition in range(REPETITIONS):
            for side, options in SIDES.items():
                times[side].append(seconds(folder, f"{side}-{repetition}", options))
    tokens = (STEPS - 1) * BATCH * CONTEXT
    return {
        "tokens_per_second": {side: tokens / statistics.median(values) for side, values in times.items()},
        "two_ranks_over": {
            side: statistics.median(mine / other for mine, other in zip(values, times["two_ranks"], strict=True))
            for side, values in times.items()
            if side != "two_ranks"
        },
        "repetitions": REPETITIONS,
    }


if __name__ == "__main__":
    print(json.dumps(main()))
