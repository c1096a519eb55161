"""A graph of skills: weights against plain counting, texts that follow the ring, and a learner that needs its pairs."""

from __future__ import annotations

import numpy as np
import pytest

from windtunnel.parts.experiment.skills_of_texts import SkillsOfTexts, graph, linked, unexplained


def test_weights_are_counted():
    members = np.array([[1, 1, 0], [1, 1, 1], [0, 0, 1]], float)
    nodes, edges = graph(members)
    assert nodes == pytest.approx(np.array([2, 2, 2]) / 6)
    together = np.array([[0, 2, 1], [2, 0, 1], [1, 1, 0]]) / 8
    assert edges == pytest.approx(together)


def test_texts_have_neighbouring_skills():
    rows = linked(50, 8, np.full(8, 1 / 8), np.random.default_rng(111))
    assert set(rows.sum(axis=1)) <= {2, 3, 4} and not rows[:, 8:].any()
    for row in rows[:, :8]:
        turns = (row != np.roll(row, 1)).sum()
        assert turns == 2  # one run on the ring


def test_a_pair_that_was_never_seen_is_not_explained():
    worth = np.random.default_rng(112).standard_normal((12, 12))
    often = np.full(6, 1 / 6)
    texts = linked(300, 6, often, np.random.default_rng(113))
    assert unexplained(texts, texts, worth) < 0.01
    assert unexplained(texts[:3], texts, worth) > 0.1


def test_the_graph_ranks_as_nodes_alone_do_and_finds_the_subject():
    graphed = SkillsOfTexts(pool=400).measure(114)
    assert graphed["like_nodes"] > 0.99 and graphed["fitting"] > 0.3
    assert SkillsOfTexts(pool=400, how="pairs").measure(114)["fitting"] > graphed["fitting"]
