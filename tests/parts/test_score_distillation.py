"""Score distillation, where the scores are formulas."""

from __future__ import annotations

import numpy as np
import pytest

from windtunnel.kits.diffused import Gaussians
from windtunnel.parts.experiment.score_distillation import ScoreDistillation

ONE = Gaussians(np.ones(1), np.array([[1.0, 2.0]]), np.array([0.3]))
BOTH = Gaussians(np.array([0.5, 0.5]), np.array([[1.0, 2.0], [-2.0, 0.0]]), np.array([0.3, 0.2]))
POINTS = np.random.default_rng(0).standard_normal((20, 2))


def way(model: Gaussians = BOTH, **knobs: object) -> np.ndarray:
    return ScoreDistillation(**knobs).direction(POINTS, ONE, model, 0.4, np.random.default_rng(1))


def test_without_a_shift_it_is_classifier_score_distillation():
    """Up to a factor: free + g (prompted - free) - prompted is (g - 1) (prompted - free)."""
    shifted, classifier = way(reference="shifted", shift=0.0, guidance=7.5), way(reference="unconditional", guidance=6.5)
    assert shifted == pytest.approx(classifier) and abs(shifted).max() > 0.01
    assert way(reference="shifted", shift=0.0, guidance=1.0) == pytest.approx(np.zeros_like(POINTS))


def test_the_direction_of_a_gaussian_is_known():
    """Against one Gaussian without guidance: the prediction of the noise is linear in the noised point."""
    noise = np.random.default_rng(1)
    drawn = noise.standard_normal(POINTS.shape)
    level = np.tan(0.2 * np.pi)
    predicted = level * (POINTS + level * drawn - ONE.means[0]) / (0.3 + level**2)
    assert way(ONE, guidance=1.0) == pytest.approx(np.sin(0.2 * np.pi) ** 2 * (predicted - drawn))


def test_points_come_to_their_prompt():
    begun, led = (ScoreDistillation(points=60, steps=steps, components=1).measure(4) for steps in (1, 120))
    assert led["accuracy"] > max(0.9, begun["accuracy"]) and led["mass_error"] < begun["mass_error"]
