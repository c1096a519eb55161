"""Ridge regression: the closed form is the minimum, and a constant is not shrunk."""

from __future__ import annotations

import numpy as np
import pytest

from windtunnel.kits.ridge import applied, ridge, ridge_with_constant


def test_the_slope_is_zero_where_it_ends():
    random = np.random.default_rng(1)
    inputs, wanted, strength = random.standard_normal((30, 4)), random.standard_normal((30, 2)), np.array([0.0, 1.0, 10.0, 1e9])
    weights = ridge(inputs, wanted, strength)
    assert inputs.T @ (inputs @ weights - wanted) + strength[:, None] * weights == pytest.approx(np.zeros((4, 2)), abs=1e-6)
    assert weights[3] == pytest.approx(0, abs=1e-6) and abs(weights[0]).min() > 1e-3
    assert ridge(inputs, wanted, 2.0) == pytest.approx(ridge(inputs, wanted, np.full(4, 2.0)))


def test_a_plane_is_found_and_its_constant_is_not_shrunk():
    inputs = np.random.default_rng(2).standard_normal((50, 3))
    plane = inputs @ np.ones((3, 1)) + 4
    assert applied(ridge_with_constant(inputs, plane, 1e-9), np.zeros((1, 3)))[0, 0] == pytest.approx(4, abs=1e-5)
    assert ridge_with_constant(inputs, plane, 1e9)[:, 0] == pytest.approx([0, 0, 0, plane.mean()], abs=1e-5)
