"""Embeddings of an old and a new model: correlations are canonical, the projection is a regression, and texts alone teach it."""

from __future__ import annotations

import numpy as np
import pytest

from windtunnel.core.registry import make
from windtunnel.parts.experiment.compatible_embeddings import embedded, regression, towers
from windtunnel.slots import Experiment


def test_towers_find_what_two_kinds_of_rows_have_in_common():
    random = np.random.default_rng(0)
    shared = random.standard_normal((400, 2))
    one = np.concatenate([shared @ random.standard_normal((2, 6)), random.standard_normal((400, 2))], axis=1)
    two = shared @ random.standard_normal((2, 5)) + 0.1 * random.standard_normal((400, 5))
    found = towers(one, two, 2)
    left, right = embedded(one, found.images), embedded(two, found.texts)
    assert np.linalg.norm(left, axis=1) == pytest.approx(1) and (left * right).sum(axis=1).mean() > 0.95
    assert abs((left * np.roll(right, 1, axis=0)).sum(axis=1).mean()) < 0.15
    assert (one @ found.images[:-1] + found.images[-1]).mean(axis=0) == pytest.approx(0, abs=1e-9)


def test_the_projection_is_a_regression():
    random = np.random.default_rng(1)
    rows, turn = random.standard_normal((300, 4)), random.standard_normal((4, 3))
    assert regression(rows, rows @ turn) == pytest.approx(turn, rel=0.2, abs=0.1)


def test_texts_alone_bring_images_of_a_new_model_to_an_old_gallery():
    def recall(asked: str) -> float:
        return make(Experiment, {"compatible-embeddings": {"asked": asked, "drawings": 700, "queries": 120}}).measure(0)["recall"]

    old, texts, none = recall("old"), recall("texts"), recall("none")
    assert none < 0.25 < old < texts - 0.1
