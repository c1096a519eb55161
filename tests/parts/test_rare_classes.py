"""Rare classes: F1 against its definition, made images that keep means and covariance, and drawing again that helps."""

from __future__ import annotations

import numpy as np
import pytest

from windtunnel.core.errors import PartError
from windtunnel.parts.experiment.rare_classes import RareClasses, f1, made


def test_f1_is_the_harmonic_mean_of_precision_and_recall():
    named, true = np.array([1, 1, 0, 1, 0], bool), np.array([1, 0, 0, 1, 1], bool)
    precision, recall = 2 / 3, 2 / 3
    assert f1(named, true) == pytest.approx(2 * precision * recall / (precision + recall))
    assert f1(~true, true) == 0


def test_made_images_have_the_mean_of_their_class_and_what_all_share():
    random = np.random.default_rng(118)
    labels = np.repeat(np.arange(10), 30)
    spread = np.linspace(0.01, 0.08, 64)
    images = 0.5 + 0.02 * (labels[:, None] - 5) + spread * random.standard_normal((300, 64))
    found = made(images, labels, np.full(3000, 9), random, copies=False)
    assert found.mean(axis=0) == pytest.approx(images[labels == 9].mean(axis=0), abs=0.01)
    assert found.std(axis=0) == pytest.approx(np.sqrt(spread**2 + 1e-3), abs=0.01)
    copied = made(images, labels, np.full(20, 3), random, copies=True)
    near = np.abs(copied[:, None] - images[None]).mean(axis=2).argmin(axis=1)
    assert (labels[near] == 3).mean() > 0.8


def test_drawing_rare_images_again_helps_them():
    plain, again = (RareClasses(how=how, steps=80).measure(119) for how in ("plain", "again"))
    assert again["rare"] > plain["rare"] and plain["common"] > 0.5


def test_no_more_is_taken_than_there_is():
    with pytest.raises(PartError, match="unlabelled 800"):
        RareClasses(unlabelled=800).measure(0)
    with pytest.raises(PartError, match="rare 61 exceeds common 60"):
        RareClasses(rare=61).measure(0)
