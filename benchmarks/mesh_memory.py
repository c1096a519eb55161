"""Memory that ``check --device NAME --mesh shard=2`` foretells of a rank against what MemTracker finds on two real ones.

``python benchmarks/mesh_memory.py`` prints JSON. Foretold from a step on ranks that are made up, traced at the micro-batch, at half of it
and at one sequence; the steps that are measured hold one, three and four. ``ratio`` is foretold over measured.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
import torch.multiprocessing
from footprint import TEXT, WIDE, bfloat16
from torch.distributed._tools.mem_tracker import MemTracker
from two_ranks import free_port, one_of_two

from windtunnel.recipe import Recipe, recipe_from
from windtunnel.train.again import recompute
from windtunnel.train.estimate import dry_batch
from windtunnel.train.parallel.mesh import Mesh, laid_out
from windtunnel.train.parallel.shard import shard
from windtunnel.train.traced import one_step, repeated, traced, untrained

MESH, CUT = Mesh(shard=2), Mesh(tensor=2)
RECIPES: dict[str, dict[str, Any]] = {
    "llama": {"model": {"family": "llama", **WIDE}},
    "llama, untied": {"model": {"family": "llama", **WIDE, "tied": False}},
    "llama, long": {"model": {"family": "llama", **WIDE}, "context": 512, "batch": 4},
    "llama, bfloat16": {"model": {"family": "llama", **WIDE}, "precision": "bfloat16"},
    "llama, large vocabulary": {"model": {"family": "llama", **WIDE}, "tokenizer": {"vocabulary": 16384}},
    "llama, deep": {"model": {"family": "llama", "width": 64, "heads": 2, "layers": 12}},
    "gpt2": {"model": {"family": "gpt2", **WIDE}},
    "gpt-neox": {"model": {"family": "gpt-neox", **WIDE}},
    "qwen3": {"model": {"family": "qwen3", **WIDE}},
    "bert": {"model": {"family": "bert", **WIDE}, "objective": "masked-token"},
    "t5": {"model": {"family": "t5", **WIDE}, "objective": "span-corruption", "tokenizer": {"vocabulary": 4096, "sentinels": 64}},
    "llama, cut": {"model": {"family": "llama", **WIDE}},
    "llama, deep, computed again": {"model": {"family": "llama", "width": 64, "heads": 2, "layers": 12}},
}


def recipe_of(fields: dict[str, Any]) -> Recipe:
    """One of :data:`RECIPES`."""
    return recipe_from({"corpus": {"text": "builtin:stdlib"}, "budget": {"steps": 2}, **TEXT, **fields})


def way(name: str) -> tuple[Mesh, bool]:
    """The mesh of the recipe ``name``, and whether blocks compute their activations again."""
    return CUT if "cut" in name else MESH, "again" in name


def measured(name: str, rows: int) -> int:
    """The most bytes that this rank holds in a later step of the recipe ``name`` with ``rows`` sequences."""
    recipe, (mesh, again) = recipe_of(RECIPES[name]), way(name)
    (phase,) = recipe.phases
    model = untrained(phase, recipe.encoding)
    shard(model, laid_out(mesh, torch.device("cpu")), bfloat16=bfloat16(recipe))
    if again:
        recompute(model)
    optimizer = phase.optimizer.build(model, phase.model.learning_rate())
    batch = repeated(dry_batch(phase, recipe.encoding), rows)
    tracker = MemTracker()
    tracker.track_external(model, optimizer)
    with tracker:
        for step in range(2):
            one_step(model, optimizer, phase, batch, bfloat16(recipe))
            if not step:
                tracker.reset_mod_stats()
    return int(max(kinds["Total"] for kinds in tracker.get_tracker_snapshot("peak").values()))


def rows_of(recipe: Recipe) -> list[int]:
    """How many sequences the measured steps hold."""
    return sorted({1, 3, recipe.phases[0].batch})


def work(rank: int, port: int, file: str) -> None:
    """One of two ranks; the first writes what it found to ``file``."""
    found = {}
    with one_of_two(rank, port):
        for name, fields in RECIPES.items():
            recipe = recipe_of(fields)
            found[name] = {rows: measured(name, rows) for rows in rows_of(recipe)}
            print(rank, name, found[name], file=sys.stderr, flush=True)
    if not rank:
        Path(file).write_text(json.dumps(found))


def main() -> dict[str, Any]:
    """All recipes, and the furthest ratio from 1."""
    with tempfile.NamedTemporaryFile("r") as file:
        torch.multiprocessing.spawn(work, (free_port(), file.name), nprocs=2)
        real = json.load(file)
    found, ratios = {}, []
    for name, fields in RECIPES.items():
        recipe = recipe_of(fields)
        mesh, again = way(name)
        foretold = traced(recipe, bfloat16=bfloat16(recipe), mesh=mesh, again=again)
        if foretold is None:
            raise SystemExit(f"{name}: cannot be traced")
        ratio = {rows: foretold.bytes(int(rows), 1) / value for rows, value in real[name].items()}
        found[name] = {"measured_bytes": real[name], "ratio": ratio}
        ratios += ratio.values()
    return {
        "mesh": f"{MESH}; cut: {CUT}",
        "recipes": found,
        "worst": max(ratios, key=lambda ratio: abs(ratio - 1)),
        "comparisons": len(ratios),
    }


if __name__ == "__main__":
    json.dump(main(), sys.stdout, indent=1)
    print()
