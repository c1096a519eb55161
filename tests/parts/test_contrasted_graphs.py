"""Trees and what is none, texts that tell them, and the two contrasts by their formulas."""

from __future__ import annotations

import networkx
import numpy as np
import torch

from windtunnel.kits.small_decoder import SmallDecoder
from windtunnel.parts.experiment.contrasted_graphs import (
    ACTIVE,
    CONCEPT,
    COUNT,
    END,
    PASSIVE,
    PROMPT,
    TARGET,
    ContrastedGraphs,
    drawn,
    parsed,
    perturbed,
    reordered,
    sound,
    told,
)


def tree(edges: np.ndarray) -> bool:
    graph = networkx.MultiGraph([(one, two) for one, _, two in edges.tolist()])
    return bool(networkx.is_tree(graph))


def test_graphs_are_trees_that_the_text_tells():
    texts, graphs = drawn(60, np.random.default_rng(260))
    for text, graph in zip(texts, graphs, strict=True):
        clauses = text[:-1].reshape(-1, 3)
        passive = clauses[:, 1] >= PASSIVE
        clauses[passive] = clauses[passive][:, ::-1]
        clauses[passive, 1] -= PASSIVE - ACTIVE
        assert (clauses == graph).all() and tree(graph) and sound(graph, set(graph.ravel().tolist()))


def test_negatives_are_no_trees_and_positives_are_the_same():
    random = np.random.default_rng(261)
    _, graphs = drawn(80, random)
    wrong = perturbed(graphs, random)
    assert ((wrong != graphs).sum(axis=(1, 2)) == 1).all()
    for graph in wrong:
        assert not tree(graph) and not sound(graph, set(graph.ravel().tolist()))
    for one, other in zip(graphs.tolist(), reordered(graphs, random).tolist(), strict=True):
        assert sorted(one) == sorted(other)


def test_only_edges_before_an_end_are_read():
    edge = [CONCEPT, ACTIVE, CONCEPT + 1]
    assert parsed(np.array([*edge, END, 0])).tolist() == [edge]
    for broken in ([*edge, *edge], [END], [*edge[:2], END], [CONCEPT, PASSIVE, CONCEPT, END]):
        assert parsed(np.array(broken)) is None


def test_contrasts_are_their_formulas():
    texts, graphs = drawn(6, np.random.default_rng(262))
    model = SmallDecoder(COUNT, COUNT, PROMPT + TARGET, width=8, tokens=True, seed=1)
    right, states = told(model, texts, graphs)
    random = np.random.default_rng(263)
    wrong, negative = told(model, texts, perturbed(graphs, random))
    positive = told(model, texts, reordered(graphs, random))[1]
    margin = ContrastedGraphs(weight=2.0)._loss(model, texts, graphs, np.random.default_rng(263))
    expected = [max(0.0, float(one - two) + 1) for one, two in zip(wrong.ravel(), right.ravel(), strict=True)]
    assert torch.isclose(margin, -right.mean() + 2 * np.mean(expected), atol=1e-5)
    contrast = ContrastedGraphs(contrast="states")._loss(model, texts, graphs, np.random.default_rng(263)) + right.mean()
    cosine = [[float(torch.cosine_similarity(one, other, dim=0)) / 0.1 for other in (*positive, *negative)] for one in states]
    nats = [np.log(np.exp(row).sum()) - row[place] for place, row in enumerate(np.array(cosine))]
    assert abs(float(contrast) - np.mean(nats)) < 1e-4
