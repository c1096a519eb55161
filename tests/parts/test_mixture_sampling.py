"""Corrected sampling, where the truth is a formula."""

from __future__ import annotations

import numpy as np
import pytest

from windtunnel.kits.diffused import Combination, Gaussians, masses, resampled, sampled, shares
from windtunnel.parts.experiment.mixture_sampling import MixtureSampling


def gaussian(mean: tuple[float, float], variance: float) -> Gaussians:
    return Gaussians(np.ones(1), np.array([mean]), np.array([variance]))


def drawn(kind: str, correct: str, **knobs: object) -> tuple[np.ndarray, float]:
    """Mean and variance of samples that are made of two Gaussians of variances 2 and 0.5."""
    target = Combination(kind, gaussian((0.0, 0.0), 2.0), gaussian((1.0, 0.0), 0.5), 2.0)
    points, weights = sampled(target, np.random.default_rng(0), particles=2000, steps=80, correct=correct, **knobs)
    share = weights / weights.sum()
    mean = share @ points
    return mean, float((share @ (points - mean) ** 2).mean())


@pytest.mark.parametrize(
    ("kind", "mean", "variance"),
    # Of precisions: annealing to 2 doubles that of the first; a product adds both; guidance is 2 second - first, 4 - 0.5.
    [("annealed", 0.0, 1.0), ("product", 0.8, 0.4), ("geometric", 4 / 3.5, 1 / 3.5)],
)
def test_corrected_moments_are_those_of_the_formula(kind, mean, variance):
    found, spread = drawn(kind, "resample")
    assert found == pytest.approx([mean, 0.0], abs=0.12) and spread == pytest.approx(variance, rel=0.12)


@pytest.mark.parametrize(("kind", "variance"), [("annealed", 1.0), ("product", 0.4)])
def test_mixed_scores_alone_are_wrong(kind, variance):
    """Otherwise there would be nothing to correct."""
    assert abs(drawn(kind, "none")[1] / variance - 1) > 0.1


def test_scores_are_gradients_and_masses_are_those_of_many_draws():
    random = np.random.default_rng(1)
    mixture, points, step = Gaussians.drawn(random, 3), random.uniform(-3, 3, (5, 2)), 1e-5
    for axis in (0, 1):
        shift = np.eye(2)[axis] * step
        slope = (mixture.log_density(points + shift, 0.3) - mixture.log_density(points - shift, 0.3)) / (2 * step)
        assert mixture.score(points, 0.3)[:, axis] == pytest.approx(slope, abs=1e-5)
    places = random.choice(3, 20_000, p=mixture.weights)
    draws = mixture.means[places] + random.standard_normal((20_000, 2)) * np.sqrt(mixture.variances[places])[:, None]
    assert abs(shares(draws, np.ones(20_000)) - masses(mixture.log_density)).sum() / 2 < 0.03


def test_drawing_anew_keeps_shares():
    places = resampled(np.random.default_rng(0), np.log(np.array([0.5, 0.25, 0.25, 1e-12])))
    assert np.bincount(places, minlength=4).tolist() == [2, 1, 1, 0]


def test_beyond_the_exact_draws_there_is_an_error_left_to_correct():
    def error(**knobs: object) -> float:
        return float(
            np.mean([MixtureSampling(target="product", steps=40, particles=2000, **knobs).measure(seed)["mass_error"] for seed in (50, 51)])
        )

    exact, corrected, mixed = error(correct="exact"), error(correct="resample"), error()
    assert exact < corrected < mixed
