"""Values learned from recorded steps."""

from __future__ import annotations

import numpy as np
import pytest

from windtunnel.parts.experiment.calibrated_values import DISCOUNT, CalibratedValues, number, pushed, recorded


def test_the_push_is_the_slope_of_its_loss():
    random = np.random.default_rng(0)
    table, counts = random.random((3, 4)), random.integers(0, 4, (3, 4)).astype(float)

    def loss(values: np.ndarray) -> float:
        return float((counts * (np.log(np.exp(values).sum(axis=1, keepdims=True)) - values)).sum())

    step = 1e-6 * np.eye(12).reshape(12, 3, 4)
    wanted = np.array([(loss(table + one) - loss(table - one)) / 2e-6 for one in step]).reshape(3, 4)
    assert np.allclose(pushed(table, counts, None), wanted, atol=1e-5)


def test_values_below_the_floor_are_not_pushed_down():
    table, counts = np.array([[0.2, 0.9, 0.5, 0.1]]), np.array([[0.0, 3.0, 0.0, 0.0]])
    found = pushed(table, counts, np.array([0.4]))
    assert found[0, 0] == found[0, 3] == 0 < found[0, 2] and found[0, 1] < 0


def test_returns_are_discounted_from_the_goal_back():
    steps = recorded(np.random.default_rng(0), (0, 0), (3, 3), 1, 1.0)
    back = steps[::1]
    assert back[0][2] == 1 and back[0][4] and back[0][3] == number((3, 3))
    assert [step[5] for step in back] == pytest.approx([DISCOUNT**place for place in range(len(back))])


def test_what_was_never_done_misleads_values_that_are_not_held_down():
    found = {
        values: np.mean([CalibratedValues(values=values, attempts=20).measure(seed)["offline"] for seed in range(80, 84)])
        for values in ("plain", "calibrated")
    }
    assert found["calibrated"] > found["plain"] + 0.2
