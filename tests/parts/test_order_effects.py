"""Orders told from one run: the run's own exactly, others the better the more orders are expanded, and worse at a high rate."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from windtunnel.parts.experiment.order_effects import HIDDEN, LabelledDigits, OrderEffects, expanded, loss, trained

RATE = 0.003


@pytest.fixture(scope="module")
def images() -> LabelledDigits:
    random = np.random.default_rng(80)
    return LabelledDigits(torch.from_numpy(random.random((20, 64))), torch.from_numpy(random.integers(0, 10, 20)))


def test_each_order_of_the_expansion_leaves_an_error_of_the_next(images):
    random = np.random.default_rng(81)
    known, away = (torch.from_numpy(random.standard_normal(74 * HIDDEN) * scale) for scale in (0.1, 0.01))
    for orders in range(3):
        wrong = []
        for size in (1.0, 0.5):
            there = known + size * away
            exact = torch.func.grad(loss)(there, images)
            wrong.append(float((expanded(known, size * away, images, orders) - exact).norm()))
        assert wrong[0] / wrong[1] == pytest.approx(2 ** (orders + 1), rel=0.1)


def test_the_runs_own_order_is_told_exactly():
    part = OrderEffects(batches=4, learning_rate=RATE)
    batches, _ = part._data(np.random.default_rng(82))
    start = torch.from_numpy(np.random.default_rng(83).standard_normal(74 * HIDDEN) * 0.1)
    run = trained(start, batches, RATE)
    for estimate in ("reference", "last", "none", "first", "second"):
        told = OrderEffects(batches=4, learning_rate=RATE, estimate=estimate)._told(run, batches, batches)
        assert torch.allclose(told, run[-1], rtol=0, atol=1e-12)


def test_the_reference_is_no_better_than_itself_and_an_expansion_is():
    plain, first = (OrderEffects(batches=6, orders=6, estimate=estimate).measure(84) for estimate in ("reference", "first"))
    assert plain["weight_error"] == 1 and plain["rank_correlation"] == 0
    assert first["weight_error"] < 0.5 and first["loss_error"] < plain["loss_error"]
