"""Experts within a network: hidden numbers that a domain uses, and components that a group opens."""

from __future__ import annotations

import torch

from windtunnel.parts.experiment.gated_components import GatedComponents
from windtunnel.parts.experiment.neuron_experts import NeuronExperts, largest


def test_the_largest_are_kept():
    assert largest(torch.tensor([0.1, 3.0, -5.0, 2.0]), 2).tolist() == [False, True, False, True]


def test_leaving_numbers_out_costs_something_and_training_on_gives_some_back():
    knobs = {"training": 120, "steps": 30, "width": 48}
    whole, some = (NeuronExperts(masks=masks, **knobs).measure(80) for masks in ("all", "oracle"))
    assert some["before"] < whole["before"] and some["accuracy"] > some["before"] and 0 < some["overlap"] < 1
    assert (
        NeuronExperts(masks="all", steps=0, training=20).measure(80)["accuracy"]
        == NeuronExperts(masks="all", steps=0, training=20).measure(80)["before"]
    )


def test_closed_components_are_not_read():
    part, generator = GatedComponents(), torch.Generator().manual_seed(0)
    weights = part._begun(4, generator)
    inputs = torch.rand(3, 64)
    before = part.said(weights, inputs, 0)
    weights["1.2.v"] += 1
    assert torch.equal(part.said(weights, inputs, 0), before) and not torch.equal(part.said(weights, inputs, 2), before)
    common = {name: weight for name, weight in weights.items() if ".3." not in name}
    assert torch.allclose(part.said(weights, inputs, 3), part.said(common, inputs, 3)), "a new group begins as what all share"


def test_groups_need_their_own_components():
    found = GatedComponents(training=150, steps=20, rates=(1e-2,)).measure(80)
    assert found["open"] > found["closed"] + 0.1
