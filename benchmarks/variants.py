"""Every way this machine may compute a step is worth the same: its loss against that of float32 with fused attention, seed by seed.

``python benchmarks/variants.py`` prints JSON: for each variant the differences in bits per byte on test, the largest gap between the two
validation curves, and the standard deviation between seeds that both are to be small against; tokens per second of training beside them.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from windtunnel.core.keys import Variant
from windtunnel.recipe import recipe_from
from windtunnel.train.machine import rates
from windtunnel.train.prepare import prepare
from windtunnel.train.record import RunRecord
from windtunnel.train.run import fly
from windtunnel.train.variant import able_to_compile

SEEDS = (0, 1, 2)
RECIPE = {
    "corpus": {"code": "builtin:stdlib", "prose": "builtin:docstrings"},
    "budget": {"tokens": 400_000},
    "model": {"width": 64, "layers": 4},
    "context": 128,
    "batch": 32,
    "tokenizer": {"vocabulary": 512},
}


def main() -> dict[str, Any]:
    """Fly every variant with every seed."""
    torch.set_num_threads(1)
    device = torch.device("cpu")
    variants = [Variant(precision=precision, attention=how) for precision in ("float32", "bfloat16") for how in ("sdpa", "products")]  # type: ignore[arg-type]
    if able_to_compile(device):
        variants.append(Variant(compiled=True))
    with tempfile.TemporaryDirectory() as scratch:
        recipe = recipe_from(RECIPE)
        stream = prepare(recipe, Path(scratch) / "cache")

        def flown(variant: Variant) -> list[RunRecord]:
            name = f"{variant.precision}-{variant.attention}-{variant.compiled}"
            return [fly(recipe, seed, stream, Path(scratch) / f"{name}-{seed}", variant=variant, threads=1) for seed in SEEDS]

        records = {variant: flown(variant) for variant in variants}
    usual = records[Variant()]
    primary = usual[0].primary or ""
    return {
        "seeds": len(SEEDS),
        "tokens": RECIPE["budget"],
        "rates": rates(device),
        "sd_between_seeds": statistics.stdev(record.test[primary] or 0.0 for record in usual),
        "variants": {
            f"{variant.precision}, {variant.attention}{', compiled' if variant.compiled else ''}": {
                "differences": [(one.test[primary] or 0.0) - (other.test[primary] or 0.0) for one, other in zip(runs, usual, strict=True)],
                "largest_gap_of_curves": max(
                    abs((mine.numbers[primary] or 0.0) - (theirs.numbers[primary] or 0.0))
                    for one, other in zip(runs, usual, strict=True)
                    for mine, theirs in zip(one.validation, other.validation, strict=True)
                ),
                "tokens_per_second": [round(record.totals.tokens / record.totals.seconds) for record in runs if record.totals],
            }
            for variant, runs in records.items()
        },
    }


if __name__ == "__main__":
    json.dump(main(), sys.stdout, indent=1)
    print()
