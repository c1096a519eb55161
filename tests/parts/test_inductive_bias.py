"""Inductive bias: tails are those of the distribution, also where they are no floats, and what interpolates is drawn alike for all arms."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import gamma

from windtunnel.parts.experiment.inductive_bias import InductiveBias, tail_bits


def test_tails_are_those_of_a_scaled_chi_squared_distribution():
    errors = np.random.default_rng(0).chisquare(6, 4000) / 6
    shape = errors.mean() ** 2 / errors.var()
    for error in (0.05, 0.5, 1.5):
        assert tail_bits(errors, error) == pytest.approx(-np.log2(gamma.cdf(error, shape, scale=errors.mean() / shape)), rel=1e-6)
    assert tail_bits(errors, float(np.quantile(errors, 0.05))) == pytest.approx(-np.log2(0.05), abs=0.3)
    narrow = np.random.default_rng(0).normal(1, 0.01, 1000)
    assert 5000 < tail_bits(narrow, 0.1) < 50_000, "the chance is below the least float"


def test_more_dimensions_need_more_bits_and_more_examples_fewer():
    def bits(**knobs: float) -> float:
        return float(np.mean([InductiveBias(width=200, hypotheses=200, **knobs).measure(seed)["bits"] for seed in range(80, 83)]))

    assert bits(dimensions=8, examples=40) > bits(dimensions=3, examples=40) + 5
    assert bits(dimensions=4, examples=20) > bits(dimensions=4, examples=100) + 5
    with pytest.raises(ValueError, match="width: 60 features"):
        InductiveBias(width=60, examples=64)
    assert InductiveBias(space="waves", hypotheses=50).measure(80)["doubt"] < 3
