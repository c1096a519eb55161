"""What each part that acts within a step costs at its identity setting: time a step over the same loop without it.

Interleaved repetitions in one process. A teacher's forward is part of what its term costs. ``python benchmarks/overhead.py`` prints JSON.
"""

from __future__ import annotations

import json
import logging
import statistics
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import torch
from loop import ours, recipe

from windtunnel.models.init import config_for, fresh
from windtunnel.models.save import export
from windtunnel.train.prepare import prepare

STEPS, REPETITIONS = 8, 3


def settings(teacher: str) -> dict[str, dict[str, Any]]:
    """Recipe fields by the name of the part: its identity setting, or the nearest there is."""
    held = {"teacher": {"folder": teacher}, "weight": 0.0}
    return {
        "plain": {},
        "fixed-mask": {"structure": {"fixed-mask": {"sparsity": 0.0}}},
        "pruning-ramp": {"structure": {"pruning-ramp": {"sparsity": 0.0}}},
        "shared-stages": {"structure": {"shared-stages": {"stages": 5}}},
        "sub-depths": {"structure": {"sub-depths": {"layers": 5}}},
        "linear-layers (no identity)": {"structure": "linear-layers"},
        "low-rank of half the width (no identity)": {"structure": {"low-rank": {"rank": 128}}},
        "sparse-low-rank of half the width (no identity)": {"structure": {"sparse-low-rank": {"rank": 128}}},
        "distillation": {"losses": {"distillation": held}},
        "hidden-distillation": {"losses": {"hidden-distillation": {**held, "pool": "mean"}}},
        "learnable": {"selection": {"learnable": {"scorer": {"folder": teacher}, "candidates": 1, "top": 2000}}},
        "pull-to-start": {"after_step": {"pull-to-start": {"strength": 0.0}}},
        "galore (no identity)": {"optimizer": {"galore": {"rank": 64, "every": 1000}}},
    }


def main() -> dict[str, Any]:
    """Time every setting in turn, several times."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with tempfile.TemporaryDirectory() as folder:
        stream = prepare(recipe(STEPS), Path(folder))
        phase = recipe(STEPS).phases[0]
        teacher = str(export(fresh(config_for(phase.model, stream.facts, phase.context), 1), Path(folder) / "teacher"))
        recipes = {name: recipe(STEPS, **fields) for name, fields in settings(teacher).items()}
        times: dict[str, list[float]] = {name: [] for name in recipes}
        for _ in range(REPETITIONS):
            for name, each in recipes.items():
                times[name].append(ours(each, stream, device))
    over = {name: [one / plain for one, plain in zip(values, times["plain"], strict=True)] for name, values in times.items()}
    return {
        "over_plain": {name: {"median": statistics.median(v), "min": min(v), "max": max(v)} for name, v in over.items()},
        "seconds_per_step": statistics.median(times["plain"]),
        "threads": torch.get_num_threads(),
        "steps": STEPS,
        "repetitions": REPETITIONS,
    }


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    found = main()
    json.dump(found, sys.stdout, indent=1)
    print()
