"""Conditions: pictures are what they say, night is darker, a side is pressed, and a matrix has one training a row."""

from __future__ import annotations

import numpy as np

from windtunnel.core.registry import make
from windtunnel.parts.experiment.condition_matrix import KINDS, SIZE, pictures, shape
from windtunnel.slots import Experiment


def test_shapes_are_inside_their_bounds_and_differ():
    grid = np.linspace(-1.2, 1.2, 41)
    x, y = np.broadcast_to(grid, (41, 41)), np.broadcast_to(grid[:, None], (41, 41))
    drawn = [shape(np.array([kind]), x[None], y[None])[0] for kind in range(2 * KINDS)]
    assert all(one.any() and not one[0].any() and not one[:, -1].any() for one in drawn)
    assert len({one.tobytes() for one in drawn}) == 2 * KINDS
    assert np.isclose(drawn[0].mean() * 2.46**2, np.pi * 0.64, rtol=0.1), "the area of a disc"


def test_pictures_are_of_their_condition():
    one, kinds = pictures("top", "day", 300, 0, np.random.default_rng(0))
    side, same = pictures("side", "day", 300, 0, np.random.default_rng(0))
    night, _ = pictures("top", "night", 300, 0, np.random.default_rng(0))
    assert (kinds == same).all() and set(kinds) == set(range(KINDS))
    assert np.allclose(one.mean(axis=1), 0, atol=1e-6) and np.allclose((one**2).sum(axis=1), 1, atol=1e-5)
    discs = [each[kinds == 0].reshape(-1, SIZE, SIZE).mean(axis=0) for each in (one, side)]
    tall = [(disc.max(axis=1) > disc.max() / 2).sum() for disc in discs]
    assert tall[1] < 0.75 * tall[0], "pressed"
    apart = [np.abs(each[kinds == 0] - each[kinds == 0].mean(axis=0)).mean() for each in (one, night)]
    assert apart[1] > apart[0], "less to be seen at night"


def test_what_was_trained_on_is_known_best():
    found = make(Experiment, {"condition-matrix": {"pictures": 100, "steps": 60, "asked": 150}}).measure(0)
    assert found["same"] > found["light"] > found["view"]
    assert np.isclose(found["view_cost"], found["same"] - found["view"])
