"""Tokens per CPU second of two ranks of one thread, now over those of another checkout, in turns.

``python benchmarks/ranks_before.py FOLDER`` prints JSON: FOLDER is that checkout, by custom of c0d53bf, whose ranks each held the whole
model and added up gradients by hand. ``whole`` is ``--ranks 2`` of this checkout, ``shards`` its ``--mesh shard=2``. A side is a run of its
own; the CPU seconds are those of both processes between its fourth step and its last, without evaluation.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from two_ranks import free_port

HERE = Path(__file__).parents[1]
STEPS, WARM, BATCH, CONTEXT, PAIRS = 30, 4, 16, 128, 3
RECIPE = f"""
corpus: {{prose: builtin:docstrings}}
budget: {{steps: {STEPS}}}
tokenizer: {{vocabulary: 1024}}
model: {{depth: 6}}
batch: {BATCH}
context: {CONTEXT}
precision: float32
compile: "no"
evaluate_every: 1.0
evaluation_tokens: 256
test_tokens: 256
"""


def work(folder: str, mesh: str) -> None:
    """Train in ``folder`` as one of two ranks, and write down this process's CPU seconds at each step. Both checkouts can do it."""
    from windtunnel.recipe import load_recipe
    from windtunnel.train.prepare import prepare
    from windtunnel.train.ranks import joined, rank, rank_0_first
    from windtunnel.train.run import fly

    place, clock = Path(folder), list[float]()

    def stop() -> bool:
        clock.append(time.process_time())
        return False

    how: dict[str, Any] = {"threads": 1, "stop": stop, "warn": lambda _: None}
    recipe = load_recipe(place.parent / "recipe.yaml")
    if mesh:
        from windtunnel.recipe.resolve import resolve
        from windtunnel.train.parallel.mesh import Mesh

        recipe, how["mesh"] = resolve(recipe), Mesh.read(mesh)
    with joined("cpu"):
        with rank_0_first():
            stream = prepare(recipe, place.parent / ("cache" if mesh else "cache-before"))
        fly(recipe, 0, stream, place, **how)
        (place.parent / f"{place.name}-{rank()}.json").write_text(json.dumps(clock))


def tokens_per_second(checkout: Path, folder: Path, mesh: str) -> float:
    """Of the CPUs, of one run on two ranks."""
    port, processes = free_port(), []
    for rank in range(2):
        env = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": 1}
        words = [sys.executable, "-W", "ignore", __file__, "work", str(folder), mesh]
        told = {key: str(value) for key, value in env.items()} | {"PYTHONPATH": f"{checkout}"}
        processes.append(subprocess.Popen(words, env=os.environ | told, cwd=checkout, stdout=sys.stderr))
    if any(process.wait() for process in processes):
        raise SystemExit(f"{checkout}, {mesh}: it broke")
    clocks = [json.loads((folder.parent / f"{folder.name}-{rank}.json").read_text()) for rank in range(2)]
    steps = min(map(len, clocks)) - WARM
    return steps * BATCH * CONTEXT / sum(clock[-1] - clock[-1 - steps] for clock in clocks)


def main(before: str) -> dict[str, Any]:
    """All sides in turns, and the ratios of each pair."""
    sides = {"before": (Path(before).resolve(), ""), "whole": (HERE, "data=2"), "shards": (HERE, "shard=2")}
    found: dict[str, list[float]] = {side: [] for side in sides}
    asked = ["git", "-C", before, "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "recipe.yaml").write_text(RECIPE)
        for pair in range(PAIRS):
            for side in sides if pair % 2 == 0 else reversed(sides):
                checkout, mesh = sides[side]
                found[side].append(tokens_per_second(checkout, Path(name) / f"{side}-{pair}", mesh))
                print(side, found[side][-1], file=sys.stderr, flush=True)
    ratios = {side: [now / other for now, other in zip(found[side], found["before"], strict=True)] for side in ("whole", "shards")}
    over = {side: {"median": statistics.median(values), "all": values} for side, values in ratios.items()}
    return {"before": commit, "tokens_per_cpu_second": found, "over_before": over}


if __name__ == "__main__":
    if sys.argv[1] == "work":
        work(*sys.argv[2:])
        sys.exit()
    json.dump(main(sys.argv[1]), sys.stdout, indent=1)
    print()
