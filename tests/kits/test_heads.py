"""Heads that meet classes one task after the other: closed forms are exact under any order, and what forgets forgets."""

from __future__ import annotations

import numpy as np
import pytest

from windtunnel.kits.heads import ClassMeans, KeyValue, TaskLayer

RANDOM = np.random.default_rng(0)
CENTRES = RANDOM.standard_normal((6, 12)) * 1.5
LABELS = np.repeat(np.arange(6), 30)
FEATURES = CENTRES[LABELS] + RANDOM.standard_normal((180, 12)) * np.linspace(0.2, 2, 12)


def along(head, order):
    for begin in range(0, 6, 2):
        now = np.isin(LABELS, order[begin : begin + 2])
        head.update(FEATURES[now], LABELS[now])
    return np.array(sorted(head.seen))[head.scores(FEATURES).argmax(axis=1)]


@pytest.mark.parametrize("by", ["distance", "angle", "lda"])
def test_closed_forms_do_not_depend_on_the_order_of_classes(by):
    first, second = along(ClassMeans(by), [0, 1, 2, 3, 4, 5]), along(ClassMeans(by), [5, 2, 0, 4, 3, 1])
    assert (first == second).all()
    whole = ClassMeans(by)
    whole.update(FEATURES, LABELS)
    assert (whole.scores(FEATURES).argmax(axis=1) == first).all()


def test_means_and_covariance_are_those_of_their_definitions():
    head = ClassMeans("lda")
    head.update(FEATURES, LABELS)
    means = np.stack([FEATURES[label == LABELS].mean(axis=0) for label in range(6)])
    pooled = head._covariance(means)
    residual, size = FEATURES - means[LABELS], 12
    plain = residual.T @ residual / 174
    square, trace = (plain**2).sum(), np.trace(plain)
    shrunk = ((1 - 2 / size) * square + trace**2) / ((174 + 1 - 2 / size) * (square - trace**2 / size))  # equation 23 of the paper
    assert np.allclose(pooled, (1 - shrunk) * plain + shrunk * trace / size * np.eye(size))
    nearest = ((FEATURES[:, None] - means) ** 2).sum(axis=2).argmin(axis=1)
    assert (along(ClassMeans(), [0, 1, 2, 3, 4, 5]) == nearest).all()
    assert (head.scores(FEATURES).argmax(axis=1) == LABELS).mean() > (nearest == LABELS).mean()


def test_a_layer_forgets_and_is_aligned_again():
    def right(replay):
        head = TaskLayer(rate=0.05, epochs=10, random=np.random.default_rng(0), replay=replay)
        return (along(head, [3, 1, 5, 0, 4, 2]) == LABELS).mean()

    assert right(False) < 0.6 < 0.85 < right(True)


def test_values_that_were_not_fetched_do_not_change():
    def made(votes):
        sizes = {"books": 8, "keys": 16, "width": 4, "rate": 0.3, "epochs": 5}
        return KeyValue(FEATURES, **sizes, random=np.random.default_rng(0), votes=votes)

    head = made(False)
    first = LABELS < 2
    head.update(FEATURES[first], LABELS[first])
    before, fetched = head.values.copy(), head._fetched(FEATURES[~first])
    head.update(FEATURES[~first], LABELS[~first])
    for book in range(8):
        untouched = np.setdiff1d(np.arange(16), fetched[:, book])
        assert (head.values[book, untouched, :2] == before[book, untouched]).all()
    votes = made(True)
    votes.update(FEATURES, LABELS)
    assert votes.values.sum() == 8 * 180 and (votes.scores(FEATURES).argmax(axis=1) == LABELS).mean() > 0.6
    assert (along(made(True), [0, 1, 2, 3, 4, 5]) == along(made(True), [4, 5, 1, 0, 3, 2])).all()
