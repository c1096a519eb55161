"""Weights by loss: the formulas of the paper, what they leave alone, and that nothing of them is differentiated."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from windtunnel.parts.weighting.by_loss import ByLoss
from windtunnel.slots import Loss, Progress

LOSSES = torch.tensor([1.0, 2.0, 4.0, 5.0])  # on the line: -1, -0.5, 0.5, 1
THERE = torch.ones(4, dtype=torch.bool)


def weights(shape: Any, temperature: float = 1.0) -> list[float]:
    return ByLoss(shape=shape, temperature=temperature).weights(LOSSES, THERE).tolist()


@pytest.mark.parametrize(
    ("shape", "scores"),
    [("lin-upper", (0, 0.5, 1, 1)), ("linear", (-1, -0.5, 0.5, 1)), ("quadratic", (0, 0.75, 0.75, 0)), ("extremes", (1, 0.5, 0.5, 1))],
)
def test_weights_are_the_softmax_of_the_score(shape, scores):
    raw = [math.exp(score / 0.4) for score in scores]
    assert weights(shape, 0.4) == pytest.approx([4 * one / sum(raw) for one in raw])


def test_sequences_without_a_target_count_neither_for_others_nor_for_themselves():
    there = torch.tensor([True, True, True, False])
    found = ByLoss().weights(torch.tensor([1.0, 2.0, 4.0, 0.0]), there)
    assert torch.equal(found[:3], ByLoss().weights(torch.tensor([1.0, 2.0, 4.0]), there[:3]))
    assert found[3] == 1


def test_equal_losses_count_alike():
    assert torch.allclose(ByLoss(temperature=0.1).weights(torch.full((4,), 2.0), THERE), torch.ones(4))


def test_the_targets_of_a_sequence_share_its_weight_and_no_gradient_flows_through_it():
    values = torch.tensor([[1.0, 3.0], [8.0, 0.5]], requires_grad=True)
    loss = Loss(values, torch.tensor([[True, True], [True, False]]), None)
    context: Any = SimpleNamespace(progress=Progress(5, 10, 0, 1, 2, 0.5, 0.5, 0))
    found = ByLoss().weigh(loss, {}, {}, context)
    assert not found.requires_grad
    expected = ByLoss().weights(torch.tensor([2.0, 8.0]), THERE[:2])
    assert torch.equal(found, expected[:, None].expand(2, 2))
    assert torch.equal(ByLoss(warmup=0.6).weigh(loss, {}, {}, context), torch.ones(2, 2))
