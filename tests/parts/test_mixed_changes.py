"""A new task from changes for other tasks."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from windtunnel.parts.experiment.mixed_changes import KNOWN, MixedChanges


def test_a_mix_adds_each_change_by_its_coefficient():
    first = {"0.weight": torch.zeros(2, 2), "0.bias": torch.ones(2)}
    changes = [{"0.weight": torch.full((2, 2), float(which)), "0.bias": torch.full((2,), 1.0)} for which in range(len(KNOWN))]
    mix = torch.zeros(len(KNOWN), 2)
    mix[3, 0], mix[1, 1] = 2.0, 5.0
    found = MixedChanges().made(first, changes, {"mix": mix})
    assert torch.equal(found["0.weight"], torch.full((2, 2), 6.0)) and torch.equal(found["0.bias"], torch.full((2,), 6.0))
    alike = MixedChanges(trains="one").made(first, changes, {"mix": torch.ones(1, 1)})
    assert torch.equal(alike["0.weight"], torch.full((2, 2), float(sum(range(len(KNOWN))))))


def test_mixing_is_better_than_one_column_and_row_where_labels_are_two():
    knobs = {"training": 80, "steps": 40, "rates": (0.1,)}
    found = {trains: MixedChanges(trains=trains, **knobs).measure(80) for trains in ("tensors", "lora")}
    assert found["tensors"]["accuracy"] > found["lora"]["accuracy"] and found["tensors"]["numbers"] == 36


def test_a_task_whose_own_change_is_mixed_is_refused():
    with pytest.raises(ValidationError, match="is no new task"):
        MixedChanges(degrees=30)
