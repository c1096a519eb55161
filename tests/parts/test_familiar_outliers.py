"""Scores of outliers, and what they say of digits."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from windtunnel.core.errors import UserError
from windtunnel.kits.detection import auroc, false_positives, from_logits, mahalanobis, nearness
from windtunnel.parts.experiment.familiar_outliers import FamiliarOutliers
from windtunnel.parts.experiment.noisy_pretraining import NoisyPretraining
from windtunnel.parts.experiment.trained_filters import TrainedFilters
from windtunnel.parts.experiment.two_tower_outliers import TwoTowerOutliers


def test_energy_moves_with_the_logits_and_probabilities_do_not():
    logits = np.random.default_rng(0).standard_normal((20, 5))
    before, after = from_logits(logits), from_logits(logits + 3.0)
    assert after["energy"] == pytest.approx(before["energy"] + 3) and after["msp"] == pytest.approx(before["msp"])


def test_what_is_known_is_nearest_to_itself():
    random = np.random.default_rng(0)
    known, labels = random.standard_normal((30, 4)) + 5 * np.eye(4)[np.arange(30) % 3], np.arange(30) % 3
    assert nearness(known, known, 1) == pytest.approx(0.0, abs=1e-7) and (nearness(known, known, 2) < 0).all()
    means = np.stack([known[labels == label].mean(axis=0) for label in range(3)])
    assert mahalanobis(means, known, labels) == pytest.approx(0.0, abs=1e-9)
    stretched = np.diag([1.0, 10.0, 1.0, 0.1])
    assert mahalanobis(known @ stretched, known @ stretched, labels) == pytest.approx(mahalanobis(known, known, labels), rel=1e-2)


def test_areas_are_those_of_scikit_learn_and_turn_with_the_sides():
    from sklearn.metrics import roc_auc_score

    random = np.random.default_rng(1)
    known, other = random.integers(2, 9, 40).astype(float), random.integers(0, 7, 50).astype(float)
    assert auroc(known, other) == pytest.approx(roc_auc_score([1] * 40 + [0] * 50, np.concatenate([known, other])))
    assert auroc(known, other) == pytest.approx(1 - auroc(other, known)) and auroc(known, known) == 0.5
    assert false_positives(np.arange(100.0), np.array([-1.0, 50.0])) == 0.5


def test_labels_that_hide_a_class_hide_it_from_every_score():
    def area(**knobs: object) -> float:
        return float(np.mean([FamiliarOutliers(**knobs).measure(seed)["auroc"] for seed in (60, 61)]))

    assert area(pretrained="coarse", score="knn") < 0.8 < 0.95 < area(score="knn")
    assert area(pretrained="classes", score="knn") > 0.95


def test_without_scikit_learn_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    for part in (FamiliarOutliers(), TwoTowerOutliers(), NoisyPretraining(), TrainedFilters()):
        with pytest.raises(UserError, match=rf"{part.name} needs scikit-learn: pip install"):
            part.measure(0)
