"""The tiny setting in which parts for series are tried."""

from __future__ import annotations

from typing import Any

MODEL: dict[str, Any] = {"family": "patchtst", "patch": 4}
SERIES: dict[str, Any] = {
    "corpus": {"drawn": {"drawn-series": {"count": 12, "steps": 96, "frequencies": ["monthly"]}}},
    "split": {"validation": 0.15, "test": 0.25},
    "encoding": {"series": {"past": 24, "horizon": 12}},
    "objective": "forecast",
    "context": 4,
    "evaluations": "relative-error",
    "evaluate_every": 1,
}
