"""Bins of actions."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from windtunnel.parts.experiment.action_bins import ActionBins, placed

ACTIONS = np.sinh(2 * np.random.default_rng(0).standard_normal(4000))


def test_edges_are_where_their_rule_says():
    assert np.diff(ActionBins(bins="uniform").edges(ACTIONS)) == pytest.approx(np.ptp(ACTIONS) / 16)
    shares = np.bincount(placed(ACTIONS, ActionBins(bins="quantile").edges(ACTIONS)))
    assert shares == pytest.approx(250, abs=2)
    normal = np.random.default_rng(1).standard_normal(4000)
    counts = np.bincount(placed(normal, ActionBins(bins="gaussian").edges(normal)))
    assert counts.std() < 40, "equal shares where actions are Gaussian"
    assert ActionBins(bins="gaussian").edges(ACTIONS)[[0, -1]] == pytest.approx([ACTIONS.min(), ACTIONS.max()])


def test_a_bin_means_its_middle_or_its_mean():
    edges = np.array([0.0, 1.0, 5.0])
    actions = np.array([0.2, 0.4, 1.5, 4.5, 4.5])
    assert ActionBins(count=2).middles(edges, actions) == pytest.approx([0.5, 3.0])
    assert ActionBins(count=2, means=True).middles(edges, actions) == pytest.approx([0.3, 3.5])


def test_weights_are_carried_to_where_a_bin_lies_in_deviations():
    part = ActionBins(bins="gaussian")
    weights = torch.arange(16.0).repeat(64, 1)
    assert torch.allclose(part.carried(weights, part.edges(ACTIONS), ACTIONS, 0.1 * ACTIONS + 7), weights, atol=1e-4), "scaled and shifted"
    other = part.carried(weights, part.edges(ACTIONS), ACTIONS, np.random.default_rng(2).standard_normal(100))
    assert not torch.allclose(other, weights, atol=0.5)
