"""Bounds of prompts: the inverse of the binary relative entropy, which holds, and is told by how likely the words are."""

from __future__ import annotations

import math

import numpy as np
import pytest

from windtunnel.core.errors import UserError
from windtunnel.parts.experiment.prompt_bound import PromptBound, _error, bound


def test_the_bound_is_where_the_relative_entropy_is_used_up():
    found = bound(0.1, 20.0, 500)
    apart = 0.1 * math.log(0.1 / found) + 0.9 * math.log(0.9 / (1 - found))
    assert found > 0.1 and apart == pytest.approx((20 + math.log(2 * math.sqrt(500) / 0.05)) / 500)
    assert bound(0.0, 0.0, 100) == pytest.approx(1 - math.exp(-math.log(20 / 0.05) / 100))
    assert bound(0.1, 1e6, 500) > 0.999 and bound(0.1, 5, 500) < bound(0.1, 20, 500) < bound(0.1, 20, 100)


def test_a_class_without_words_is_never_the_nearest():
    classes = np.array([[1.0, 0], [0, 0], [0, 1.0]])
    assert _error(classes, np.array([[-1.0, -2], [2, 1]]), np.array([0, 0])) == 0
    assert _error(classes, np.array([[-1.0, -2]]), np.array([1])) == 1


def test_bounds_hold_and_likely_words_make_them_tighter():
    words, uniform, floats = (PromptBound(vocabulary=30, examples=400, prior=prior).measure(80) for prior in ("words", "uniform", "floats"))
    assert words["error"] == uniform["error"] == floats["error"] < words["bound"] < floats["bound"] and floats["bound"] > 0.99
    assert words["gap"] == pytest.approx(words["bound"] - words["error"]) and words["bound"] != uniform["bound"]
    with pytest.raises(UserError, match="more than its"):
        PromptBound(vocabulary=1000).measure(80)
