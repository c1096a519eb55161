"""The family ``cells`` against scikit-learn's gradient boosting on small real tables, at equal CPU seconds.

``python benchmarks/rows.py`` prints JSON: for each table and seed the bits per label and the accuracy of both on the same held-out rows. A
network is trained on the training rows of the split, then boosting is tuned on them for as many CPU seconds as that took, its evaluations
left out: settings are drawn at random, the usual ones first, and what does best on validation is judged on test. Both see the same rows.
"""

from __future__ import annotations

import json
import math
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import log_loss

from windtunnel.data.loader import Loader
from windtunnel.recipe import recipe_from
from windtunnel.train.prepare import prepare
from windtunnel.train.run import fly

TABLES, SEEDS = ("iris", "wine", "breast_cancer"), (0, 1)


def recipe(table: str) -> Any:
    return recipe_from(
        {
            "corpus": {table: {"bundled-table": table}},
            "budget": {"flops": 5e9},
            "split": {"validation": 0.2, "test": 0.3, "near_duplicates": 1.0},
            "encoding": "rows",
            "model": {"family": "cells", "layers": 2, "width": 32, "heads": 2},
            "objective": {"classify-rows": {"hide": 0.2}},
            "optimizer": {"adamw": {"learning_rate": 0.003}},
            "context": 8,
            "batch": 4,
            "evaluate_every": 1,
        }
    )


def rows_of(stream: Any, split: str, table: str) -> tuple[np.ndarray, np.ndarray]:
    """Cells [rows, columns] and labels [rows] of a split, as the network sees them."""
    found = list(Loader(stream, split=split, context=8, sequences=16).fixed(table))
    real = [rows["documents"] >= 0 for rows in found]
    cells = np.concatenate([rows["numbers"][mine] for rows, mine in zip(found, real, strict=True)])
    return cells, np.concatenate([rows["label"][mine] for rows, mine in zip(found, real, strict=True)])


def boosted(stream: Any, table: str, seconds: float, seed: int) -> dict[str, float]:
    """The best of as many settings as ``seconds`` of CPU time allow, at least the usual ones."""
    (cells, labels), (held, held_labels), (asked, asked_labels) = (
        rows_of(stream, split, table) for split in ("train", "validation", "test")
    )
    random, began, tried, best = np.random.default_rng(seed), time.process_time(), 0, (math.inf, None)
    classes = np.unique(labels)
    while not tried or time.process_time() - began < seconds:
        drawn = {
            "learning_rate": float(10 ** random.uniform(-2, -0.3)),
            "max_iter": int(random.integers(20, 200)),
            "max_leaf_nodes": int(random.integers(3, 32)),
            "min_samples_leaf": int(random.integers(2, 21)),
            "l2_regularization": float(10 ** random.uniform(-4, 1)),
        }
        model = HistGradientBoostingClassifier(random_state=seed, **(drawn if tried else {})).fit(cells, labels)
        cost = log_loss(held_labels, model.predict_proba(held), labels=classes)
        best = min(best, (cost, model), key=lambda one: one[0])
        tried += 1
    odds = best[1].predict_proba(asked)  # type: ignore[attr-defined]
    right = float((classes[odds.argmax(axis=1)] == asked_labels).mean())
    bits = float(log_loss(asked_labels, odds, labels=classes) / math.log(2))
    return {"bits_per_label": bits, "accuracy": right, "settings": tried, "cpu_seconds": time.process_time() - began}


def main() -> dict[str, Any]:
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for table in TABLES:
            stream = prepare(recipe(table), Path(folder) / "cache")
            for seed in SEEDS:
                record: Any = fly(recipe(table), seed, stream, Path(folder) / f"{table}-{seed}", warn=lambda message: None)
                assert record["status"] == "finished", record["traceback"]
                seconds = record["totals"]["cpu_seconds"]
                own = {key: record["test"][key] for key in ("bits_per_label", "accuracy")} | {"cpu_seconds": seconds}
                found[f"{table}, seed {seed}"] = {"cells": own, "boosting": boosted(stream, table, seconds, seed)}
                print(f"{table}, seed {seed}", found[f"{table}, seed {seed}"], file=sys.stderr)
    return found


if __name__ == "__main__":
    json.dump(main(), sys.stdout, indent=1)
    print()
