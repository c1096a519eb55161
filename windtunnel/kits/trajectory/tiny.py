"""The tiny setting in which parts for trajectories are tried."""

from __future__ import annotations

from typing import Any

MODEL: dict[str, Any] = {"family": "decision-transformer"}
EPISODES: dict[str, Any] = {
    "corpus": {"drawn": {"drawn-walks": {"count": 40}}},
    "split": {"validation": 0.15, "test": 0.25},
    "encoding": {"episodes": {"steps": 6}},
    "objective": "action",
    "context": 4,
    "evaluations": "action-bits",
    "evaluate_every": 1,
}
