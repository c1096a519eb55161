"""Rare events: the gradient of the fit, what the penalty does at its two ends, and what it is worth."""

from __future__ import annotations

import numpy as np
import pytest

from windtunnel.core.registry import make
from windtunnel.parts.experiment.rare_events import cost, fit, stages
from windtunnel.slots import Experiment


def drawn(differ: list[float], rows: int = 4000) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random, truth = np.random.default_rng(0), np.array([0.0, 2.0, 1.0, -1.0, *differ])
    inputs = random.uniform(-1, 1, (rows, 2))
    return inputs, (random.random(rows)[:, None] > stages(truth, inputs)[0].cumsum(axis=1)[:, :2]).sum(axis=1), truth


def test_the_gradient_is_that_of_the_cost() -> None:
    rows, reached, truth = drawn([0.3, 0.0], 200)
    for place in range(6):
        step = 1e-6 * np.eye(6)[place]
        slope = (cost(truth + step, rows, reached)[0] - cost(truth - step, rows, reached)[0]) / 2e-6
        assert cost(truth, rows, reached)[1][place] == pytest.approx(slope, abs=1e-5)


def test_without_penalty_weights_are_free_and_a_strong_one_gives_proportional_odds() -> None:
    rows, reached, truth = drawn([1.0, 0.0])
    free, fused, bound, none = fit(rows, reached, 0.0), fit(rows, reached, 0.01), fit(rows, reached, 10.0), fit(rows, reached, None)
    assert free == pytest.approx(truth, abs=0.35)
    assert bound == pytest.approx(none, abs=1e-3) and not none[4:].any()
    assert abs(fused[5]) < 0.05 < abs(fused[4]), "of the differences the one that is there stays"


def test_the_penalty_finds_what_neither_end_does() -> None:
    errors = {
        model: np.mean([make(Experiment, {"rare-events": {"model": model}}).measure(seed)["error"] for seed in range(100, 104)])
        for model in ("fused", "logistic", "proportional")
    }
    assert errors["fused"] < errors["logistic"]
