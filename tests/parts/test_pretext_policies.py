"""Policies cloned on frozen features."""

from __future__ import annotations

import numpy as np

from windtunnel.parts.experiment.pretext_policies import PretextPolicies, crossed, scenes


def test_ways_are_along_the_longer_axis():
    found = scenes(np.random.default_rng(0), 200)
    assert found.images.shape == (200, 12, 12) and abs(float(found.images.mean())) < 1e-5 and 0.2 < found.clear.mean() < 0.9
    assert np.bincount(found.ways, minlength=4).min() > 20 and np.bincount(found.commands, minlength=4).min() > 20


def test_features_count_for_their_command_alone():
    features = np.arange(6.0).reshape(2, 3) + 1
    found = crossed(features, np.array([2, 0]))
    assert (
        found.shape == (2, 12) and (found[0, 6:9] == features[0]).all() and (found[1, :3] == features[1]).all() and (found != 0).sum() == 6
    )


def test_ways_are_read_from_pixels_and_not_from_two_numbers():
    pixels = PretextPolicies(pretext="pixels", labels=600, scenes=64, steps=1).measure(80)
    few = PretextPolicies(pretext="pixels", labels=20, scenes=64, steps=1).measure(80)
    assert pixels["success"] > max(0.4, few["success"] + 0.05)
