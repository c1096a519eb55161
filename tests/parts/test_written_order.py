"""Numbers put in order: a set is read without its order, pointers are the formula and what is written is fed back."""

from __future__ import annotations

import numpy as np
import torch

from windtunnel.core.registry import make
from windtunnel.kits.pointers import Pointers
from windtunnel.parts.experiment.written_order import drawn
from windtunnel.slots import Experiment


def test_a_set_is_read_without_its_order():
    numbers, order = drawn(6, 5, np.random.default_rng(0))
    assert (numbers.gather(1, order).diff(dim=1) >= 0).all()
    mixed = torch.tensor([3, 0, 4, 1, 2])
    for reads, same in (("set", True), ("sequence", False)):
        network = Pointers(reads, 3, "pointers", 5, 0)
        state, other = network.read(numbers)[1], network.read(numbers[:, mixed])[1]
        assert torch.allclose(state, other, atol=1e-5) == same
    network = Pointers("set", 2, "pointers", 5, 0)
    assert torch.allclose(network(numbers)[:, :, mixed], network(numbers[:, mixed]), atol=1e-5)


def test_pointers_are_their_formula_and_places_end_where_training_did():
    numbers, order = drawn(2, 4, np.random.default_rng(1))
    network = Pointers("set", 1, "pointers", 4, 1)
    found, state = network.read(numbers)
    state = network.write(torch.zeros_like(state), state)
    first = torch.tanh(found[0, 2] @ network.near.weight.T + network.near.bias + state[0] @ network.far.weight.T + network.far.bias)
    assert torch.isclose(network(numbers, order)[0, 0, 2], first @ network.score.weight[0])
    assert (Pointers("set", 1, "places", 3, 1)(numbers)[:, :, 3] == -1e4).all()


def test_training_sorts():
    few, more = (make(Experiment, {"written-order": {"numbers": 3, "reads": "set", "steps": steps}}).measure(0) for steps in (1, 120))
    assert more["sorted"] > 0.5 > few["sorted"] + 0.1
