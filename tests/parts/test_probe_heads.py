"""Heads on few labels: arms of one seed meet the same examples, and naive Bayes wins where it is right about the world."""

from __future__ import annotations

import numpy as np
import pytest

from windtunnel.core.errors import UserError
from windtunnel.core.registry import make
from windtunnel.slots import Experiment


def accuracies(seeds: int, **knobs: object) -> list[float]:
    part = make(Experiment, {"probe-heads": knobs})
    return [part.measure(seed)["accuracy"] for seed in range(seeds)]


def test_examples_are_those_of_the_seed_whatever_the_head():
    parts = [make(Experiment, {"probe-heads": {"head": head, "features": 3}}) for head in ("naive-bayes", "logistic")]
    one, two = (part._gaussians(np.random.default_rng(5)) for part in parts)
    assert all((first == second).all() for first, second in zip(one, two, strict=True))
    assert [len(array) for array in one] == [25, 25, 600, 600]
    known, names, held, _ = parts[0].model_copy(update={"labels": 4})._digits(np.random.default_rng(5))
    assert np.bincount(names).tolist() == [4] * 10 and known.shape[1] == held.shape[1] == 64


def test_naive_bayes_needs_fewer_labels_of_independent_features():
    bayes, logistic = (np.mean(accuracies(4, head=head, labels=10, features=32)) for head in ("naive-bayes", "logistic"))
    assert bayes > logistic + 0.03
    assert np.mean(accuracies(2, labels=200, features=4)) > np.mean(accuracies(2, labels=3, features=4))


def test_too_many_labels_are_refused():
    with pytest.raises(UserError, match="examples that are not held out"):
        accuracies(1, data="digits", labels=500)
