"""Heads of incremental-probe on features that need no model."""

from __future__ import annotations

import pytest

from windtunnel.core.errors import PartError
from windtunnel.parts.experiment.incremental_heads import IncrementalHeads


def measured(head: str, seed: int = 0, features: str = "pixels", **knobs: object) -> dict[str, float]:
    probe = {"incremental-probe": {"head": head, "epochs": 2, **knobs}}
    return IncrementalHeads(probe=probe, features=features, width=64).measure(seed)


def test_closed_forms_end_the_same_in_few_and_many_tasks_and_what_forgets_does_not():
    few, many = (measured("nearest-mean", tasks=tasks)["incremental_probe/last"] for tasks in (2, 10))
    assert few == pytest.approx(many) and few > 0.85
    forgets = measured("sequential", rate=0.05)
    assert forgets["incremental_probe/last"] < 0.4 and forgets["incremental_probe/forgetting"] > 0.5


def test_the_seed_deals_and_arms_meet_the_same_images():
    """Otherwise differences of a seed would not be paired."""
    assert measured("lda", 1) == measured("lda", 1) != measured("lda", 2)
    assert measured("nearest-mean", 1)["incremental_probe/numbers"] == 10 * 65
    assert measured("nearest-mean", 1, "random")["incremental_probe"] != measured("nearest-mean", 1)["incremental_probe"]


def test_another_evaluation_is_refused():
    with pytest.raises(PartError, match="not weight-health"):
        IncrementalHeads(probe="weight-health").measure(0)
