"""Labels on which views agree."""

from __future__ import annotations

import numpy as np
import pytest

from windtunnel.parts.experiment.consensus_labels import ConsensusLabels, agreement, held_to


def test_a_prediction_far_from_the_others_loses_its_weight():
    said = np.array([[[0.0, 0, 0], [0.1, 0, 0], [-0.1, 0, 0], [8.0, 0, 0]]])
    mean, sure = agreement(said, np.ones((1, 4)))
    assert abs(mean[0, 0]) < 0.1 < abs(said[0, :, 0].mean()) and 0 < sure[0] < 4


def test_a_strong_ridge_holds_the_layer():
    random = np.random.default_rng(0)
    features, wanted, about = random.standard_normal((30, 4)), random.standard_normal((30, 3)), random.standard_normal((4, 3))
    assert held_to(about, features, wanted, 1e9) == pytest.approx(about, abs=1e-6)
    assert held_to(about, features, wanted, 0.0) == pytest.approx(np.linalg.lstsq(features, wanted, rcond=None)[0])


def test_agreed_labels_teach_and_own_ones_do_not():
    found = {labels: ConsensusLabels(labels=labels).measure(80) for labels in ("nothing", "own", "weighted", "true")}
    assert found["own"]["error"] == pytest.approx(found["nothing"]["error"], rel=1e-6)
    assert found["true"]["error"] < found["weighted"]["error"] < 0.9 * found["own"]["error"]
