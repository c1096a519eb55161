"""Regression in context: the posterior is the one of a formula, mixtures weigh by what was seen, and no label is seen before its place."""

from __future__ import annotations

import numpy as np
import torch

from windtunnel.core.registry import make
from windtunnel.kits.small_decoder import SmallDecoder, descend
from windtunnel.parts.experiment.in_context_regression import Component, Drawn, posterior, told
from windtunnel.slots import Experiment


def part(**knobs: object):
    return make(Experiment, {"in-context-regression": {"dimensions": 2, "examples": 6, "width": 16, **knobs}})


def test_the_posterior_is_that_of_bayesian_regression():
    random = np.random.default_rng(0)
    features, labels = random.standard_normal((3, 6, 2)), random.standard_normal((3, 6))
    given = Component(0.0, np.array([1.0, -2.0]), np.array([0.5, 2.0]), 0.3)
    mean, variance = posterior([given], features, labels)
    seen, asked = features[1, :4], features[1, 4]
    precision = np.diag(1 / given.variances) + seen.T @ seen / 0.09
    weights = np.linalg.solve(precision, given.mean / given.variances + seen.T @ labels[1, :4] / 0.09)
    assert np.isclose(mean[1, 4], asked @ weights)
    assert np.isclose(variance[1, 4], asked @ np.linalg.inv(precision) @ asked + 0.09)


def test_parts_of_a_mixture_count_by_how_well_they_foretold():
    two = [Component(0.0, np.array([sign * 5.0, 0.0]), np.full(2, 0.01), 0.1) for sign in (-1, 1)]
    features = np.ones((1, 3, 2)) * np.array([1.0, 0.0])
    mean, variance = posterior(two, features, np.full((1, 3), 5.0))
    assert np.isclose(mean[0, 0], 0.0) and variance[0, 0] > 20, "before a label either is as likely"
    assert np.isclose(mean[0, 1], 5.0, atol=0.01) and variance[0, 1] < 0.1


def test_tasks_are_drawn_as_they_are_told():
    sparse = part(dimensions=5, prior="sparse")
    drawn = Drawn(np.random.default_rng(0), sparse, sparse._components("sparse"))
    assert ((drawn.weights != 0).sum(axis=1) == 2).all() and len(sparse._components("sparse")) == 10
    both = sparse._components("dense-or-sparse")
    assert np.isclose(np.exp(both[0].share), sum(np.exp(one.share) for one in both[1:]))
    window = part(dimensions=1, window=3)
    drawn = Drawn(np.random.default_rng(0), window, window._components("gaussian"))
    last = (
        drawn.weights[:, 0] * drawn.inputs[:, 5, 0]
        + drawn.weights[:, 1] * drawn.inputs[:, 4, 0]
        + drawn.weights[:, 2] * drawn.inputs[:, 3, 0]
    )
    assert np.allclose(drawn.true[:, 5], last)


def test_no_label_is_seen_before_its_place():
    knobs = part()
    drawn = Drawn(np.random.default_rng(0), knobs, knobs._components("gaussian"), rows=4)
    network = SmallDecoder(5, 2, 6, width=16, seed=1)
    before = told(network, drawn)[0].detach()
    drawn.labels[:, 3] += 1
    changed = (told(network, drawn)[0].detach() - before).abs().amax(dim=0) > 1e-6
    assert changed.tolist() == [False] * 4 + [True] * 2


def test_the_decoder_learns_what_its_batches_tell():
    random = np.random.default_rng(0)
    network = SmallDecoder(4, 4, 6, width=16, layers=1, tokens=True, seed=0)

    def loss(_: int) -> torch.Tensor:
        rows = torch.from_numpy(random.integers(0, 4, (32, 6)))
        return torch.nn.functional.cross_entropy(network(rows)[:, 1:].flatten(0, 1), rows[:, :-1].flatten())

    before = float(loss(0).detach())
    descend(network, loss, 120, 0.01)
    assert float(loss(0).detach()) < 0.3 < 1.0 < before, "each place tells the token before it"
