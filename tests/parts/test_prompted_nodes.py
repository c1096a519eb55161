"""Prompts on nodes: graphs that differ in their motif alone, where prompts go, and a policy that learns from its reward."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from windtunnel.parts.experiment.prompted_nodes import FEATURES, NODES, MotifGraphs, Prompted, PromptedNodes, learned, log_chance


@pytest.fixture(scope="module")
def network():
    return learned(MotifGraphs.drawn(60, np.random.default_rng(0)), 8, 30, np.random.default_rng(1), 0)


def test_graphs_differ_in_their_motif():
    graphs = MotifGraphs.drawn(20, np.random.default_rng(2))
    edges = graphs.near.sum(dim=(1, 2)) / 2
    assert (edges == edges[0]).all() and torch.equal(graphs.near, graphs.near.transpose(1, 2))
    for near, label, motif in zip(graphs.near, graphs.labels, graphs.motif, strict=True):
        inside = near[motif > 0][:, motif > 0].sum(dim=1).sort().values.tolist()
        assert inside == ([2] * 6 if label else [1, 1, 1, 2, 2, 5])


@pytest.mark.parametrize(("prompt", "count"), [("all", NODES), ("random", 4), ("greedy", 4), ("none", 0), ("tuned", 0)])
def test_prompts_go_to_as_many_nodes_as_they_may(network, prompt, count):
    torch.manual_seed(0)
    graphs = MotifGraphs.drawn(3, np.random.default_rng(3))
    own = Prompted.made(network, 8, prompt, 4)
    with torch.no_grad():
        own.vector.normal_()
    assert (own.places(graphs).sum(dim=1) == count).all()
    weights = [weight.clone() for weight in own.network.parameters()]
    own.learn(graphs, 3, 1e-2)
    moved = any(not torch.equal(one, other) for one, other in zip(weights, own.network.parameters(), strict=True))
    assert moved == (prompt == "tuned")


def test_chances_are_those_of_a_choice_and_a_normal_vector():
    odds, means = torch.randn(5, NODES).log_softmax(dim=1), torch.randn(5, NODES, FEATURES)
    place, vector = torch.tensor([0, 3, 1, 2, 4]), torch.randn(5, FEATURES)
    found = log_chance(odds, means, place, vector)
    rows = torch.arange(5)
    normal = torch.distributions.Normal(means[rows, place], 0.3).log_prob(vector).sum(dim=1)
    assert torch.allclose(found[0], odds[rows, place]) and torch.allclose((found[1] - normal).std(), torch.tensor(0.0), atol=1e-4)


def test_the_policy_learns_to_lower_the_loss(network):
    torch.manual_seed(1)
    graphs = MotifGraphs.drawn(10, np.random.default_rng(4))
    own = Prompted.made(network, 8, "policy", 3)
    optimizer = torch.optim.AdamW([weight for each in (own.choose, own.write, own.critic) for weight in each.parameters()], 1e-2)

    def loss() -> float:
        nodes = own._practise(graphs, torch.optim.SGD(own.choose.parameters(), 0.0))
        return float(torch.nn.functional.cross_entropy(own.said(nodes, graphs.near), graphs.labels).detach())

    before = loss()
    for _ in range(25):
        own._practise(graphs, optimizer)
    assert loss() < before - 0.02, "the head stood still"
    assert PromptedNodes(prompt="policy").budget == 5
