"""The tiny settings in which parts for other than text are tried, beside :class:`windtunnel.core.trial.Trial`, one a modality."""

from __future__ import annotations

from typing import Any

DIGITS: dict[str, Any] = {
    "corpus": {"digits": "builtin:digits"},
    "split": {"validation": 0.15, "test": 0.25},
    "encoding": "pixels",
    "objective": "masked-patches",
    "context": 8,
    "evaluations": {"probe": {"shots": 2, "draws": 1}},
    "evaluate_every": 1,
}
PAIRS: dict[str, Any] = {
    "corpus": {"drawn": {"drawn-shapes": {"count": 120, "size": 8}}},
    "split": {"validation": 0.2, "test": 0.2},
    "encoding": {"image-text": {"size": 8, "vocabulary": 400, "length": 12}},
    "objective": "contrastive-pairs",
    "context": 4,
    "evaluations": {"match": {"gallery": 8}},
    "evaluate_every": 1,
}
SERIES: dict[str, Any] = {
    "corpus": {"drawn": {"drawn-series": {"count": 12, "steps": 96, "frequencies": ["monthly"]}}},
    "split": {"validation": 0.15, "test": 0.25},
    "encoding": {"series": {"past": 24, "horizon": 12}},
    "objective": "forecast",
    "context": 4,
    "evaluations": "relative-error",
    "evaluate_every": 1,
}
ROWS: dict[str, Any] = {
    "corpus": {"iris": {"bundled-table": "iris"}},
    "split": {"validation": 0.2, "test": 0.2},
    "encoding": "rows",
    "objective": "classify-rows",
    "context": 8,
    "evaluations": "labels",
    "evaluate_every": 1,
}
TABLES: dict[str, Any] = {
    "corpus": {"drawn": {"table-prior": {"count": 120, "rows": 8}}},
    "split": {"validation": 0.2, "test": 0.2},
    "encoding": {"tables": {"length": 8}},
    "objective": "in-context",
    "context": 2,
    "evaluations": "labels",
    "evaluate_every": 1,
}
GRAPHS: dict[str, Any] = {
    "corpus": {"drawn": {"random-graphs": {"count": 80, "nodes": 9}}},
    "split": {"validation": 0.2, "test": 0.2},
    "encoding": "graphs",
    "objective": "classify-graphs",
    "context": 4,
    "evaluations": "labels",
    "evaluate_every": 1,
}
EPISODES: dict[str, Any] = {
    "corpus": {"drawn": {"drawn-walks": {"count": 40}}},
    "split": {"validation": 0.15, "test": 0.25},
    "encoding": {"episodes": {"steps": 6}},
    "objective": "action",
    "context": 4,
    "evaluations": "action-bits",
    "evaluate_every": 1,
}
CLIP: dict[str, Any] = {"family": "clip", "patch": 4}
PATCHTST: dict[str, Any] = {"family": "patchtst", "patch": 4}
