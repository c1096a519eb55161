"""Attention rank: the gradient is the one autograd has, and ranks are those that were planted."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from windtunnel.core.registry import make
from windtunnel.parts.experiment.attention_rank import gradient
from windtunnel.slots import Experiment


def test_the_gradient_is_that_of_autograd() -> None:
    inputs, values, targets = torch.randn(3, 12, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    matrix = torch.full((4, 4), 0.1, dtype=torch.float64, requires_grad=True)
    logits = inputs @ matrix @ inputs.T
    (0.5 * (logits.softmax(dim=1) @ values - targets) ** 2).sum().backward()
    found = gradient(logits.detach().exp().numpy(), inputs.numpy(), values.numpy(), targets.numpy())
    assert matrix.grad is not None and np.allclose(found, matrix.grad.numpy())


def test_ranks_grow_with_the_largest_logit_up_to_the_length() -> None:
    small, middle, large = (make(Experiment, {"attention-rank": {"bound": bound, "length": 48}}).measure(0) for bound in (0.1, 2.0, 16.0))
    for name in ("gradient", "normalised", "features", "degree"):
        assert small[name] < middle[name] < large[name], name
    assert small["raised"] < middle["raised"] > large["raised"], "a few large entries are all that is left"
    assert large["gradient"] <= 1
    linear = make(Experiment, {"attention-rank": {"bound": 0.1, "length": 48, "width": 2}}).measure(0)
    assert linear["degree"] == 1 and linear["features"] == pytest.approx(3 / 48), "one and the two numbers of a key"
    assert linear["raised"] <= 3 / 48


@pytest.mark.parametrize(("bound", "degree"), [(0.25, 2), (1, 4), (4, 10), (14, 32), (16, 37), (32, 72)])
def test_the_degree_is_right_where_the_exponential_is_smaller_than_rounding(bound: float, degree: int) -> None:
    assert make(Experiment, {"attention-rank": {"bound": bound}})._degree() == degree


def test_what_is_left_out_of_planted_sizes_is_within_the_error() -> None:
    part = make(Experiment, {"attention-rank": {"error": 0.1}})
    assert part._rank(np.array([1.0, 0.5, 0.08, 0.01])) == 2  # 0.0806 of 1.12 is left
    assert part._rank(np.array([1.0, 0.5, 0.2, 0.01])) == 3
