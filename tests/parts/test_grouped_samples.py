"""Vectors made of noise, together and in parts."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from windtunnel.kits.flow import Flow
from windtunnel.parts.experiment.factored_samples import FactoredSamples
from windtunnel.parts.experiment.grouped_samples import GroupedSamples, tinted


def test_a_flow_that_knows_the_way_brings_noise_to_the_data():
    class Known(Flow):
        def forward(self, noisy, time, condition):
            return (noisy - condition) / time.clamp(min=1e-3)  # (1 - s) x + s e less x, over s, is e - x

    torch.manual_seed(0)
    wanted = torch.randn(20, 3)
    assert Known(3, 3).sample(wanted, 3) == pytest.approx(wanted, abs=1e-4)
    held = Known(3, 3).sample(wanted, 3, known=torch.tensor([[7.0, torch.nan, torch.nan]]).repeat(20, 1))
    assert (held[:, 0] == 7).all() and held[:, 1:] == pytest.approx(wanted[:, 1:], abs=1e-4)


def test_a_flow_learns_a_distribution():
    torch.manual_seed(0)
    data = torch.randn(2000, 2) * 0.1 + torch.tensor([3.0, -1.0])
    found = Flow(2, 1).learn(data, torch.zeros(2000, 1), 200, np.random.default_rng(0)).sample(torch.zeros(300, 1), 2)
    assert found.mean(dim=0).tolist() == pytest.approx([3, -1], abs=0.3)


def test_a_group_shares_its_tint():
    torch.manual_seed(0)
    found = tinted(torch.zeros(6, 4), torch.zeros(50, 3, dtype=torch.long), torch.rand(50, 1).expand(-1, 3))
    assert found[..., -2:].std(dim=1).mean() < 0.1 and found[:, 0, -2:].std(dim=0).min() > 0.5
    unlike = {sees: GroupedSamples(sees=sees, steps=150).measure(80)["unlike"] for sees in ("one", "group")}
    assert unlike["group"] < 0.7 * unlike["one"]


def test_codes_apart_carry_over_to_unseen_pairs():
    unseen = {told: FactoredSamples(told=told, steps=150).measure(80)["unseen"] for told in ("factored", "joint")}
    assert unseen["factored"] < 0.6 * unseen["joint"]
