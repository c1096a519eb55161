"""Intervals of losses that were not measured."""

import numpy as np
import pytest

from windtunnel.laws.band import WIDTH, foretell
from windtunnel.laws.power import COMPUTE


def planted(seed):
    """Losses of fifteen runs of a law of compute, with noise, and what it says at eight times the largest."""
    random = np.random.default_rng(seed)
    compute = np.repeat(np.geomspace(1e15, 1e17, 5), 3)
    loss = (1.8 + 4e3 * compute**-0.23) * np.exp(0.01 * random.standard_normal(len(compute)))
    return compute, loss, 1.8 + 4e3 * 8e17**-0.23


def test_most_intervals_hold_what_they_were_not_given():
    held = []
    for seed in range(6):
        compute, loss, truth = planted(seed)
        low, high = foretell(COMPUTE, {"C": compute}, loss, {"C": np.array([8e17])}, draws=20).interval(0.8)
        held.append(low[0] <= truth <= high[0])
    assert sum(held) >= 4, "80 percent, where the law is right"


def test_an_interval_is_as_wide_as_the_factor_says():
    compute, loss, _ = planted(0)
    at = {"C": np.array([1e17, 8e17, 1e19])}
    plain, usual = (foretell(COMPUTE, {"C": compute}, loss, at, draws=30, width=width) for width in (1.0, WIDTH))
    assert usual.spread == pytest.approx(WIDTH * plain.spread) and 0.3 < WIDTH < 1
    assert (np.diff(usual.spread) > 0).all(), "further off, less is known"
