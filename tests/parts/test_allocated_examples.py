"""Examples by need: what is given keeps to the mean, what is needed is enough, and arms of one seed meet the same queries."""

from __future__ import annotations

import numpy as np
import pytest

from windtunnel.parts.experiment import allocated_examples
from windtunnel.parts.experiment.allocated_examples import GRID, AllocatedExamples


@pytest.fixture(autouse=True)
def few_queries(monkeypatch):
    monkeypatch.setattr(allocated_examples, "TRAINED", 120)
    monkeypatch.setattr(allocated_examples, "JUDGED", 150)


def test_no_more_is_given_than_is_paid_for():
    part = AllocatedExamples(shown=4)
    for wanted in (np.full(150, 4.0), np.arange(150) % 17.0, np.full(150, 16.0), np.full(150, 1.0)):
        given = np.array(GRID)[part._afforded(wanted)]
        assert given.mean() <= 4 and (np.diff(given[np.argsort(wanted, kind="stable")]) >= 0).all()
    assert (np.array(GRID)[part._afforded(np.full(150, 4.0))] == 4).all()


def test_what_is_truly_needed_is_enough_and_dealing_it_out_is_not():
    found = {name: AllocatedExamples(allocation=name, shown=4).measure(80) for name in ("even", "controller", "shuffled", "known")}
    assert found["known"]["right"] > 0.95 > found["shuffled"]["right"] and found["known"]["right"] > found["even"]["right"]
    assert found["controller"]["used"] == found["shuffled"]["used"] <= 4 == found["even"]["used"]


def test_ridge_needs_as_many_examples_as_it_has_numbers():
    random = np.random.default_rng(0)
    _, right, needed = AllocatedExamples(noise=0.0)._queries(60, random.standard_normal((8, 16)), random)
    assert right["ridge"][:, 4:].mean() > 0.95 > right["nearest"][:, 4:].mean() and right["ridge"][:, 0].mean() < 0.4
    assert (right["ridge"][np.arange(60), needed] | ~right["ridge"].any(axis=1)).all()
