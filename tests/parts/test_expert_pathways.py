"""Paths, their distance and complexity, and what looks tell, on planted cases; and that experts are routed."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from windtunnel.parts.experiment.expert_pathways import ExpertPathways, RoutingLook, complexity, distance, edits, network, paths, told


def test_edit_distances():
    assert [edits("kitten", "sitting"), edits("", "abc"), edits("abc", "abc"), edits("ab", "ba")] == [3, 3, 0, 2]


def test_paths_name_layers_and_the_largest_first():
    weights = [np.array([[0.3, 0.6, 0.1], [0.9, 0.05, 0.05]]), np.array([[0.1, 0.1, 0.8], [0.1, 0.1, 0.8]])]
    found = paths(weights, 0.2)
    assert found == [((0, 1), (0, 0), (1, 2)), ((0, 0), (1, 2))]
    assert distance(found) == pytest.approx(1 / 3) and distance([found[0]] * 3) == 0
    assert distance([found[0], found[0], found[1]]) == pytest.approx(2 / 9)


def test_the_same_vectors_in_every_layer_are_simple():
    weights = [np.array([[1.0, 0.0], [0.0, 1.0]])] * 2
    same, across = np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([[0.0, 1.0], [-1.0, 0.0]])
    assert complexity(weights, [same, 3 * same]) == pytest.approx(0) and complexity(weights, [same, across]) == pytest.approx(1)


def test_what_looks_tell_begins_where_training_is_known():
    looks = [RoutingLook(25 * n, 1.0, 0.5, 0.1, 0.1, 0.0) for n in range(3)]
    looks += [RoutingLook(75 + 25 * n, 0.01, 1.0, 0.2 + 0.05 * n, 0.9 - 0.05 * n, 0.5 + 0.01 * n) for n in range(10)]
    found = told(looks)
    assert found["known"] == 75 and found["before"] == pytest.approx(0.2) and found["accuracy"] == pytest.approx(0.65)
    assert found["distance_tells"] == pytest.approx(1) and found["complexity_tells"] == pytest.approx(-1) and found["loss_tells"] == 0
    assert found["distance_fell"] == pytest.approx(1 - 0.55 / 0.8)


def test_two_experts_answer_and_routers_can_be_frozen():
    model = network(5, 2, 4, 16, 340)
    tokens = torch.tensor([[1, 2, 5], [3, 3, 5]])
    first, routing = model(tokens)
    assert routing[0].shape == (2, 3, 4) and torch.allclose(routing[0].sum(dim=-1), torch.ones(2, 3))
    with torch.no_grad():
        unused = set(range(4)) - {int(one) for row in routing[0].topk(2, dim=-1).indices.flatten(0, 1) for one in row}
        for expert in unused:
            model.blocks[0].down[expert] += 1
        assert torch.allclose(model(tokens)[0], first, atol=1e-5)
    part = ExpertPathways(modulus=5, steps=26, width=16, experts=2, frozen=True)
    assert part.measure(1) == part.measure(1)
