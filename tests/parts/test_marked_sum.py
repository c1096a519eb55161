"""Marked sums: sequences are what they should be, networks are of one size, and reach is the gradient's."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from windtunnel.core.registry import make
from windtunnel.parts.experiment.marked_sum import GUESS, memory_width, sequences
from windtunnel.slots import Experiment


def part(**knobs: object) -> Experiment:
    return make(Experiment, {"marked-sum": knobs})


def test_two_numbers_are_marked_one_in_each_half_and_their_sum_is_the_target():
    inputs, targets = sequences(500, 7, torch.Generator().manual_seed(0))
    numbers, marks = inputs.unbind(dim=2)
    assert (marks[:, :3].sum(dim=1) == 1).all() and (marks[:, 3:].sum(dim=1) == 1).all()
    assert all(
        float(target) == pytest.approx(float(row[mark.bool()].sum())) for row, mark, target in zip(numbers, marks, targets, strict=True)
    )
    assert float(((targets - 1) ** 2).mean()) == pytest.approx(GUESS, rel=0.2), "what always saying 1 is off by"


@pytest.mark.parametrize("width", [3, 16, 64])
def test_a_memory_is_as_wide_as_its_parameters_allow(width):
    def size(*made: nn.Module) -> int:
        return sum(one.numel() for module in made for one in module.parameters())

    plain, found = size(*part(width=width)._networks()), memory_width(width)
    assert size(*part(width=width, network="memory")._networks()) <= plain < size(nn.LSTM(2, found + 1), nn.Linear(found + 1, 1))


def test_first_weights_between_steps_are_orthogonal_or_the_identity_in_every_block():
    for network, blocks in (("plain", 1), ("memory", 4)):
        made, _ = part(recurrent="identity", network=network, width=12)._networks()
        width = made.weight_hh_l0.shape[1]
        assert torch.equal(made.weight_hh_l0.data, torch.eye(width).repeat(blocks, 1))
        turned, _ = part(recurrent="orthogonal", network=network, width=12)._networks()
        for block in turned.weight_hh_l0.data.split(width):
            assert torch.allclose(block @ block.T, torch.eye(width), atol=1e-5)


def test_reach_is_what_one_weight_makes_of_it():
    """With small numbers tanh passes its input on, so a weight w between steps shrinks the gradient by w at each."""
    measured = part(width=3, length=9, steps=1)
    network, answer = nn.RNN(2, 1, batch_first=True), nn.Linear(1, 1)
    for one in network.parameters():
        one.data.fill_(1e-4)
    network.weight_hh_l0.data.fill_(0.1)
    assert measured._reach(network, answer, torch.Generator().manual_seed(0)) == pytest.approx(-8, abs=0.01)


def test_short_sums_are_learned_and_without_training_none_is():
    untrained = part(length=4, width=16, steps=1, learning_rate=1e-6).measure(0)
    learned = part(length=4, width=16, steps=250, learning_rate=0.01).measure(0)
    assert learned["error"] < 0.3 < 0.9 < untrained["error"] and learned["solved"] == 1 and untrained["solved"] == 0


def test_a_run_that_diverges_answers_with_a_guess():
    found = part(length=4, width=8, steps=40, learning_rate=1e30, clip=None).measure(0)
    assert found["diverged"] == 1 and found["error"] == 1
