"""Inference over two tasks in a row, where everything is a formula."""

from __future__ import annotations

import numpy as np
import pytest

from windtunnel.parts.experiment.posterior_sequence import PosteriorSequence


def forgetting(**knobs: object) -> float:
    return float(np.mean([PosteriorSequence(**knobs).measure(seed)["forgetting"] for seed in range(8)]))


@pytest.mark.parametrize("told", [False, True])
def test_in_sequence_is_at_once_where_the_posterior_is_exact(told):
    exact, joint = (PosteriorSequence(told=told, posterior=kept).measure(5) for kept in ("exact", "joint"))
    assert exact["gap"] < 1e-9 and exact["forgetting"] == pytest.approx(joint["forgetting"], abs=1e-8)
    assert PosteriorSequence(told=told, posterior="diagonal").measure(5)["gap"] > 0.1, "what is dropped is missed"


def test_a_model_that_is_wrong_forgets_and_one_that_is_right_does_not():
    assert forgetting(tasks="shared") < 0.1 > abs(forgetting(told=True))
    assert 3 < forgetting() < forgetting(second=400)


def test_the_posterior_is_that_of_ridge_regression():
    random = np.random.default_rng(0)
    rows, outputs = random.standard_normal((20, 3)), random.standard_normal(20)
    _, mean = PosteriorSequence(noise=0.5)._learned(np.eye(3), np.zeros(3), rows, outputs)
    assert mean == pytest.approx(np.linalg.solve(rows.T @ rows + 0.25 * np.eye(3), rows.T @ outputs))
