"""Emulated tuning: the combination is the formula, and has the form of the small model with the facts of the large one."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from windtunnel.core.registry import make
from windtunnel.slots import Experiment

TINY = {"facts": 40, "tuned": 10, "large": 16, "small": 8, "steps": 80, "tuning": 60}


def numbers(**knobs: object) -> dict[str, float]:
    return make(Experiment, {"emulated-tuning": {**TINY, **knobs}}).measure(0)


def test_form_of_the_small_and_facts_of_the_large():
    found = numbers()
    assert found["large/format"] < 0.35 < found["small_tuned/format"], found
    assert found["format"] > found["large/format"] + 0.1 and found["facts"] > found["small_tuned/facts"] + 0.1, found
    assert found["both"] > max(found[f"{name}/both"] for name in ("large", "small_tuned", "shuffled"))


def test_no_strength_is_the_large_model():
    found = numbers(strength=0.0, steps=2, tuning=2)
    for name in ("both", "format", "facts"):
        assert np.isclose(found[name], found[f"large/{name}"]) and np.isclose(found[name], found[f"shuffled/{name}"])


def test_something_is_left_to_ask():
    with pytest.raises(ValidationError, match="at most 20 can be tuned on"):
        numbers(tuned=21)
