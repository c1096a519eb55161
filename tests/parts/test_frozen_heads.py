"""Rows of a layer that stay, and experts that begin as copies."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from windtunnel.kits.adapted_heads import Bottleneck
from windtunnel.parts.experiment.frozen_heads import FrozenHeads
from windtunnel.parts.experiment.upcycled_experts import UpcycledExperts, doubled, fresh_layers, said, uneven, upcycled


@pytest.mark.parametrize("cosine", [False, True])
def test_steps_are_down_the_cross_entropy(cosine):
    random = np.random.default_rng(0)
    part, adapter, layer = FrozenHeads(cosine=cosine, width=6), Bottleneck(6, 4, random), random.standard_normal((10, 6))
    adapter.up = random.standard_normal(adapter.up.shape)
    given, labels = random.standard_normal((5, 6)), np.array([0, 1, 2, 0, 1])
    before = [torch.tensor(one, requires_grad=True) for one in (layer, adapter.down, adapter.up)]
    read = torch.tensor(given) + torch.relu(torch.tensor(given) @ before[1].T) @ before[2].T
    rows = before[0]
    if cosine:
        read, rows = 10 * torch.nn.functional.normalize(read, dim=1), torch.nn.functional.normalize(rows, dim=1)
    torch.nn.functional.cross_entropy((read @ rows.T)[:, :3], torch.tensor(labels)).backward()
    part._step(adapter, layer, given, labels, np.arange(3), np.arange(1, 3), True, 1e-3)
    wanted = (before[0] - 1e-3 * before[0].grad).detach().numpy()
    wanted[0] = before[0].detach().numpy()[0]  # the first row does not move
    assert layer == pytest.approx(wanted, abs=1e-9)
    assert adapter.down == pytest.approx((before[1] - 1e-3 * before[1].grad).detach().numpy(), abs=1e-9)


def test_frozen_rows_keep_old_classes():
    plain, kept = (
        FrozenHeads(fixes=fixes, cosine=cosine, rates=(0.03,)).measure(80) for fixes, cosine in (("nothing", False), ("both", True))
    )
    assert kept["accuracy"] > plain["accuracy"] + 0.15 and plain["probe"] > 0.9


def test_the_rate_is_the_best_on_other_images():
    found = [
        FrozenHeads(fixes="nothing", cosine=False, rates=rates, epochs=1).measure(80)["accuracy"]
        for rates in ((0.01,), (1.0,), (1.0, 0.01))
    ]
    assert found[0] == found[2] > found[1] + 0.1


def test_copies_say_what_the_dense_layer_says():
    generator, inputs = torch.Generator().manual_seed(0), torch.rand(7, 64)
    weights = fresh_layers(6, generator)
    dense = said(weights, inputs)[0]
    assert torch.allclose(said(upcycled(weights, 4, generator, 0.0), inputs)[0], dense, atol=1e-5)
    assert torch.allclose(said(doubled(weights), inputs)[0], dense, atol=1e-5)
    assert not torch.allclose(said(upcycled(weights, 4, generator, 0.5), inputs)[0], dense, atol=1e-3)
    even = torch.eye(4).repeat(2, 1) * 0.01 + 0.2475
    assert float(uneven(even)) == pytest.approx(1.0, abs=1e-5) and float(uneven(torch.tensor([[0.9, 0.1]]))) == pytest.approx(1.8)


def test_copies_are_ahead_of_experts_from_nothing():
    knobs = {"training": 60, "steps": 15, "rates": (3e-3,)}
    found = {begin: UpcycledExperts(begin=begin, **knobs).measure(80) for begin in ("upcycled", "fresh")}
    assert found["upcycled"]["accuracy"] > found["fresh"]["accuracy"] and 0.25 <= found["upcycled"]["used"] <= 1
