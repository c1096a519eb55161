"""Memory that ``check --device`` foretells of a step against what torch's MemTracker finds in real ones, for ten recipes.

``python benchmarks/footprint.py`` prints JSON. A recipe's footprint is traced at its micro-batch, at half of it and at one sequence; the
steps that are measured hold one, three and twice as many sequences as the micro-batch. ``ratio`` is foretold over measured.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import torch
from torch.distributed._tools.mem_tracker import MemTracker

from windtunnel.recipe import Recipe, recipe_from
from windtunnel.train.estimate import dry_batch, footprint
from windtunnel.train.traced import one_step, repeated, traced, untrained

WIDE = {"width": 128, "heads": 2, "layers": 4}
TEXT = {"context": 128, "batch": 4, "tokenizer": {"vocabulary": 4096}}
RECIPES: dict[str, dict[str, Any]] = {
    "llama": {"model": {"family": "llama", **WIDE}},
    "llama, Muon": {"model": {"family": "llama", **WIDE}, "optimizer": "muon"},
    "llama, long": {"model": {"family": "llama", **WIDE}, "context": 512, "batch": 2},
    "llama, bfloat16": {"model": {"family": "llama", **WIDE}, "precision": "bfloat16"},
    "llama, large vocabulary": {"model": {"family": "llama", **WIDE}, "tokenizer": {"vocabulary": 16384}},
    "llama, deep": {"model": {"family": "llama", "width": 64, "heads": 2, "layers": 12}},
    "gpt2": {"model": {"family": "gpt2", **WIDE}},
    "bert": {"model": {"family": "bert", **WIDE}, "objective": "masked-token"},
    "t5": {"model": {"family": "t5", **WIDE}, "objective": "span-corruption", "tokenizer": {"vocabulary": 4096, "sentinels": 64}},
    "llama, masked": {"model": {"family": "llama", **WIDE}, "structure": {"fixed-mask": {"sparsity": 0.5}}},
}


def measured(recipe: Recipe, rows: int) -> int:
    """The most bytes that a later step with ``rows`` sequences holds."""
    (phase,) = recipe.phases
    model = untrained(phase, recipe.encoding)
    optimizer = phase.optimizer.build(model, phase.model.learning_rate())
    batch = repeated(dry_batch(phase, recipe.encoding), rows)
    one_step(model, optimizer, phase, batch, bfloat16(recipe))
    tracker = MemTracker()
    tracker.track_external(model, optimizer)
    with tracker:
        one_step(model, optimizer, phase, batch, bfloat16(recipe))
    found = tracker.get_tracker_snapshot("peak")
    return int(max(kinds["Total"] for kinds in found.values()))


def bfloat16(recipe: Recipe) -> bool:
    """Whether ``recipe`` asks for it."""
    return recipe.precision == "bfloat16"


def compared(fields: dict[str, Any]) -> dict[str, Any]:
    """Foretold over measured at three sizes, and the same of the rule of thumb that stands in where nothing can be traced."""
    recipe = recipe_from({"corpus": {"text": "builtin:stdlib"}, "budget": {"steps": 2}, **TEXT, **fields})
    found = traced(recipe, bfloat16=bfloat16(recipe))
    if found is None:
        raise SystemExit(f"{fields}: cannot be traced")
    micro = recipe.micro_batch or recipe.phases[0].batch
    real = {rows: measured(recipe, rows) for rows in sorted({1, 3, 2 * micro})}
    return {
        "measured_bytes": real,
        "ratio": {rows: found.bytes(rows, 1) / value for rows, value in real.items()},
        "rule_of_thumb": {rows: footprint(recipe).bytes(rows, 1) / value for rows, value in real.items()},
    }


def main() -> None:
    """All recipes, and the furthest ratio from 1."""
    torch.manual_seed(0)
    found = {}
    for name, fields in RECIPES.items():
        found[name] = compared(fields)
        print(name, found[name]["ratio"], file=sys.stderr, flush=True)
    ratios = [ratio for one in found.values() for ratio in one["ratio"].values()]
    print(json.dumps({"recipes": found, "worst": max(ratios, key=lambda ratio: abs(ratio - 1)), "comparisons": len(ratios)}))


if __name__ == "__main__":
    main()
