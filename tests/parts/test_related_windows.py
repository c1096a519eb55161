"""Windows of related documents: a path that visits each once and goes to the likest, and documents of one subject."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from windtunnel.kits.text.paths import neighbours, path, without_copies
from windtunnel.parts.experiment.related_windows import DOCUMENT, WINDOW, RelatedWindows, nearly, pairs, told, worlds


def test_a_path_visits_each_once_and_goes_to_the_likest():
    vectors = np.random.default_rng(180).standard_normal((40, 5))
    edges = neighbours(vectors, 4)
    order = path(edges)
    assert sorted(order) == list(range(40)) and len(edges[order[0]]) == min(len(edge) for edge in edges)
    for place in range(1, 40):
        open_ = {other: weight for other, weight in edges[order[place - 1]].items() if other not in order[:place]}
        left = [one for one in range(40) if one not in order[:place]]
        if open_:
            assert open_[order[place]] == max(open_.values())
        else:
            assert len(edges[order[place]]) == min(len(edges[one]) for one in left)


def test_edges_go_both_ways_and_are_cosines():
    vectors = np.random.default_rng(181).standard_normal((12, 4))
    edges = neighbours(vectors, 2)
    for one, edge in enumerate(edges):
        assert len(edge) >= 2 and one not in edge
        for two, weight in edge.items():
            cosine = vectors[one] @ vectors[two] / np.linalg.norm(vectors[one]) / np.linalg.norm(vectors[two])
            assert weight == pytest.approx(cosine) == edges[two][one]


def test_copies_leave_one():
    vectors = np.array([[1.0, 0], [0, 1], [2, 0], [1, 1], [0, 3]])
    assert without_copies(vectors, 0.99) == [0, 1, 3]


def test_documents_of_a_subject_agree_and_copies_are_the_same_pairs():
    random = np.random.default_rng(182)
    subjects = worlds(5, random)
    one, two = told(subjects, random), told(subjects, random)
    assert one.shape == (5, DOCUMENT)
    for row, other, subject in zip(one.tolist(), two.tolist(), subjects.tolist(), strict=True):
        known = dict(subject)
        assert all(known[key] == value for part in (row, other) for key, value in zip(part[1::2], part[2::2], strict=True))
    assert (pairs(nearly(one, random)) == pairs(one)).all()


def test_grouped_windows_are_of_one_subject():
    random = np.random.default_rng(183)
    subject = np.repeat(np.arange(6), WINDOW)
    documents = told(worlds(6, random)[subject], random)
    windows = RelatedWindows(order="grouped", dedupe=False)._windows(documents, subject, random)
    assert all(len(set(subject[row])) == 1 for row in windows)
    found = RelatedWindows(order="nearest", subjects=6, steps=3).measure(184)
    assert found["gain"] == pytest.approx(found["unrelated"] - found["related"]) and found["used"] <= 1


def test_every_order_is_judged_by_the_same_windows(monkeypatch):
    asked = []
    taken = RelatedWindows._asked
    monkeypatch.setattr(RelatedWindows, "_asked", lambda self, random: asked.append(taken(self, random)) or asked[-1])
    for order in ("random", "path"):
        RelatedWindows(order=order, subjects=6, steps=1).measure(185)
    one, two = asked
    assert all(np.array_equal(one[name], two[name]) for name in one)
    differs = (one["related"] != one["unrelated"]).any(axis=0).nonzero()[0]
    assert set(differs // DOCUMENT) < set(range(WINDOW - 1)) and len(set(differs // DOCUMENT)) == 1, "one document before, not the last"
    for row, known in zip(one["related"].tolist(), one["known"].tolist(), strict=True):
        before, last = row[: -DOCUMENT + 1], row[-DOCUMENT + 1 :]
        told_before = set(itertools.pairwise(before))
        assert all(pair in told_before for pair, is_known in zip(zip(last[::2], last[1::2], strict=True), known, strict=True) if is_known)
