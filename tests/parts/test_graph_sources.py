"""Sources of graphs: step functions, distances of them that know no order, and what carries over."""

from __future__ import annotations

import numpy as np
import pytest

from windtunnel.parts.experiment.graph_sources import HUBS, KINDS, NODES, WIDE, GraphSources, fitted, graphon, moved, pairs


def test_families_but_one_have_the_same_degrees():
    sizes = np.array([HUBS, NODES - HUBS])
    for kind, (inside, between, outside) in KINDS.items():
        degrees = [inside * sizes[0] + between * sizes[1], between * sizes[0] + outside * sizes[1]]
        assert degrees == pytest.approx([6, 6] if kind == "chance" else [12, 4], rel=0.01)
        drawn = GraphSources(graphs=200)._drawn([kind], 1.0, np.random.default_rng(0))
        assert (drawn == drawn.transpose(0, 2, 1)).all() and not drawn[:, range(NODES), range(NODES)].any()
        assert drawn[:, :HUBS, HUBS:].mean() == pytest.approx(between, abs=0.02)


def test_a_step_function_is_that_of_its_family():
    found = graphon(GraphSources(graphs=200)._drawn(["across"], 1.0, np.random.default_rng(1)))
    assert found.shape == (8, 8) and found[:2, :2].max() < 0.1 and found[:2, 2:].mean() == pytest.approx(0.4, abs=0.05)


def test_the_distance_knows_no_order_and_tells_what_differs():
    random = np.random.default_rng(2)
    one = random.random((8, 8))
    one, order = one + one.T, random.permutation(8)
    assert moved(one, one) == pytest.approx(0, abs=1e-3)
    apart = moved(one, one + 0.5)
    assert apart == pytest.approx(0.25, rel=0.1) and moved(one[order][:, order], one + 0.5) < 3 * apart


def test_a_pull_holds_weights_at_their_beginning():
    random = np.random.default_rng(3)
    numbers, edge = random.standard_normal((400, WIDE)), random.random(400) < 0.5
    start = random.standard_normal(WIDE)
    assert fitted(numbers, edge, start, 1e6) == pytest.approx(start, abs=1e-4)
    free = fitted(numbers, edge, start, 1e-6)
    odds = 1 / (1 + np.exp(-numbers @ free))
    assert numbers.T @ (odds - edge) == pytest.approx(np.zeros(WIDE), abs=1e-2)


def test_what_is_taken_out_is_not_read():
    graph = GraphSources(graphs=8)._drawn(["core"], 1.0, np.random.default_rng(4))
    numbers, edge = pairs(graph, np.random.default_rng(5))
    assert edge.mean() == 0.5 and numbers.mean(axis=0)[:-1] == pytest.approx(np.zeros(WIDE - 1), abs=1e-9)
    found = GraphSources(graphs=12, draws=4).measure(6)
    assert found["best"] >= found["chosen"] and found["best"] > found["anyone"]
