"""Influence on a reference: what a step does is what it says, the gradient is right, and what the reference needs is chosen."""

from __future__ import annotations

import numpy as np
import pytest

from windtunnel.core.errors import PartError
from windtunnel.kits.ridge import ridge_with_constant
from windtunnel.parts.experiment.refreshed_influence import (
    RIDGE,
    WORDS,
    RefreshedInfluence,
    counts,
    drawn,
    gradient,
    influence,
    loss,
    shares,
    world,
)


def test_the_gradient_is_that_of_the_loss():
    random = np.random.default_rng(101)
    table, pairs = random.standard_normal((WORDS, WORDS)), counts(random.integers(WORDS, size=(3, 24))).sum(axis=0)
    found, step = gradient(table, pairs), np.zeros((WORDS, WORDS))
    for place in ((0, 0), (5, 7), tuple(np.argwhere(pairs > 0)[0])):
        step[:] = 0
        step[place] = 1e-5
        assert found[place] == pytest.approx((loss(table + step, pairs) - loss(table - step, pairs)) / 2e-5, abs=1e-7)


def test_documents_like_the_reference_help_most():
    random = np.random.default_rng(102)
    chains = world(random)
    reference = counts(drawn(chains, np.array([1, 0, 0, 0, 0, 0]), 50, random)).sum(axis=0)
    documents = counts(drawn(chains, np.ones(6), 120, random))
    found = influence(np.zeros((WORDS, WORDS)), documents, reference)
    mine = documents[:, :8, :8].sum(axis=(1, 2)) > 0
    assert found[mine].min() > found[~mine].max()
    beta = ridge_with_constant(shares(documents), found, RIDGE / len(documents) ** 2)
    assert np.corrcoef(np.hstack([shares(documents), np.ones((120, 1))]) @ beta, found)[0, 1] > 0.9


def test_choosing_beats_drawing():
    knobs = {"stages": 4, "pool": 120, "probes": 40, "rate": 10.0}
    chosen, random = (RefreshedInfluence(how=how, **knobs).measure(103) for how in ("refreshed", "random"))
    assert chosen["loss"] < random["loss"] and chosen["agreement"] > 0.2 and set(random) == {"loss"}
    with pytest.raises(PartError, match="probes 60"):
        RefreshedInfluence(pool=100).measure(0)
