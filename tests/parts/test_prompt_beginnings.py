"""Prompts of classes by what they begin as."""

from __future__ import annotations

import numpy as np
import pytest

from windtunnel.parts.experiment.prompt_beginnings import PromptBeginnings, stein


def test_particles_become_like_samples_of_the_mixture():
    random = np.random.default_rng(0)
    shares, means, covariances = np.array([0.5, 0.5]), np.array([[-3.0, 0.0], [3.0, 0.0]]), np.stack([0.2 * np.eye(2)] * 2)
    begun = np.concatenate([[[-2.0, 1.0]] * 15, [[2.0, -1.0]] * 15]) + 0.01 * random.standard_normal((30, 2))
    found = stein(begun, shares, means, covariances, 500)
    for side, mean in ((found[:15], means[0]), (found[15:], means[1])):
        assert side.mean(axis=0) == pytest.approx(mean, abs=0.25)
        assert 0.05 < side.var(axis=0).mean() < 0.5, "they spread, and do not all sit on the mean"


def test_means_of_examples_are_better_than_anything_at_random():
    means, random = (PromptBeginnings(begin=begin, steps=0).measure(80)["accuracy"] for begin in ("means", "random"))
    assert means > random + 0.4
    assert PromptBeginnings(begin="nothing", shots=8).measure(80)["accuracy"] > 0.6, "tuning tells classes apart"
