"""Networks within one."""

from __future__ import annotations

import torch

from windtunnel.kits.image.tiny import begun, said
from windtunnel.parts.experiment.nested_widths import NestedWidths, narrowed


def test_a_narrow_network_are_the_first_numbers_of_the_wide_one():
    weights, inputs = begun((64, 8, 8, 10), 0), torch.rand(3, 64)
    assert torch.equal(said(narrowed(weights, 8), inputs), said(weights, inputs))
    weights["1.weight"][:, 2:] = 0
    weights["2.weight"][:, 2:] = 0
    narrow = said(narrowed(weights, 2), inputs)
    assert torch.allclose(narrow, said(weights, inputs) * 4, atol=1e-4), "each layer reads a quarter as many numbers, each twice as loud"


def test_narrow_networks_within_are_worth_something_only_if_they_are_trained():
    sandwich = NestedWidths(budget=4, widths=(6, 24), rates=(1e-2,)).measure(80)
    apart = NestedWidths(budget=4, widths=(6, 24), rates=(1e-2,), train="apart").measure(80)
    assert sandwich["narrowest"] > 0.2 and apart["widest"] > 0.5
    assert sandwich["accuracy"] == (sandwich["narrowest"] + sandwich["widest"]) / 2
