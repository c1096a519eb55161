"""Whole pilots, from the command to the exported model, by this checkout and by another one: tokens per CPU second of the process tree.

``python benchmarks/pilot.py OTHER [SHAPE ...] [tokens=N]`` prints JSON. ``OTHER`` is the folder of another checkout of Windtunnel, run by
the same Python. The two take turns on one recipe, each with its own defaults; the text is prepared and compiled code is cached before
anything is counted. A pilot reads 20 tokens for every parameter of its blocks, or N. ``evaluation_share`` is the part of its CPU time,
in this checkout, that goes into evaluation.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

PAIRS = 7
SHAPES: dict[str, dict[str, Any]] = {
    "width 64": {"model": {"width": 64, "layers": 4}, "batch": 32, "tokenizer": {"vocabulary": 512}, "budget": {"tokens": 3_900_000}},
    "width 128": {"model": {"width": 128, "layers": 8}, "batch": 16, "tokenizer": {"vocabulary": 1024}, "budget": {"tokens": 31_000_000}},
}
CORPUS = {"code": "builtin:stdlib", "prose": "builtin:docstrings"}
RUN = """
import sys
try:
    from windtunnel.commands.main import main
except ImportError:
    from windtunnel.cli import main
main(sys.argv[1:])
"""
SHARE = """
import sys, time
from windtunnel.train import phase
inner, spent = phase.evaluate, 0.0
def outer(*args, **kwargs):
    global spent
    began = time.process_time()
    try:
        return inner(*args, **kwargs)
    finally:
        spent += time.process_time() - began
phase.evaluate = outer
from windtunnel.commands.main import main
try:
    main(sys.argv[1:])
finally:
    print("SHARE", spent / time.process_time())
"""
HERE = Path(__file__).resolve().parents[1]


def pilot(tree: Path, recipe: dict[str, Any], folder: Path, seed: int, code: str = RUN) -> tuple[float, float, str]:
    """CPU seconds of the process tree and seconds on the clock of one pilot by the checkout ``tree``, and what it printed."""
    file = folder / f"{tree.name}-{seed}.yaml"
    file.write_text(json.dumps(recipe))
    out, cache = folder / f"out-{tree.name}-{seed}", folder / f"cache-{tree.name}"
    options = {"--out": out, "--cache": cache, "--seed": seed, "--threads": 1}
    words = [sys.executable, "-c", code, "train", str(file), *(str(word) for option in options.items() for word in option)]
    environment = {**os.environ, "PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(words, env=environment, cwd=folder, capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(f"{tree}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, time.monotonic() - began, done.stdout


def ratio(mine: list[float], others: list[float]) -> dict[str, float]:
    """The median of the ratios of pairs, other over mine, with a bootstrap interval of 95 %."""
    pairs = np.array(others) / np.array(mine)
    draws = np.median(np.random.default_rng(0).choice(pairs, (10_000, len(pairs))), axis=1)
    low, high = np.quantile(draws, (0.025, 0.975))
    return {"median": float(np.median(pairs)), "low": float(low), "high": float(high)}


def main(other: Path, shapes: list[str], tokens: int | None) -> dict[str, Any]:
    """Fly every shape by both checkouts in turns."""
    found: dict[str, Any] = {"load_before": os.getloadavg()[0], "pairs": PAIRS}
    for shape in shapes:
        recipe = {"corpus": CORPUS, "context": 128, **SHAPES[shape]} | ({"budget": {"tokens": tokens}} if tokens else {})
        with tempfile.TemporaryDirectory() as scratch:
            folder, seconds, clock = Path(scratch), {HERE: [], other: []}, {HERE: [], other: []}
            share = 0.0
            for pair in range(PAIRS + 1):
                for tree in (HERE, other):
                    first = pair == 0 and tree == HERE
                    cpu, wall, said = pilot(tree, recipe, folder, pair, SHARE if first else RUN)
                    if first:
                        share = float(said.rsplit("SHARE", 1)[1])
                    elif pair:
                        seconds[tree].append(cpu)
                        clock[tree].append(wall)
            variant = json.loads((folder / f"out-{HERE.name}-1" / "record.json").read_text())["variant"]
        read = recipe["budget"]["tokens"]
        found[shape] = {
            "tokens": read,
            "variant": variant,
            "tokens_per_cpu_second": read / float(np.median(seconds[HERE])),
            "other_tokens_per_cpu_second": read / float(np.median(seconds[other])),
            "times_as_fast_in_cpu_seconds": ratio(seconds[HERE], seconds[other]),
            "times_as_fast_on_the_clock": ratio(clock[HERE], clock[other]),
            "evaluation_share": share,
        }
    return found


if __name__ == "__main__":
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    asked = [word for word in sys.argv[2:] if not word.startswith("tokens=")]
    budget = next((int(word.removeprefix("tokens=")) for word in sys.argv[2:] if word.startswith("tokens=")), None)
    json.dump(main(Path(sys.argv[1]).resolve(), asked or list(SHAPES), budget), sys.stdout, indent=1)
    print()
