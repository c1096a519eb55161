"""Tests of two policies that may be looked at early."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError
from scipy.integrate import quad
from scipy.stats import binomtest

from windtunnel.parts.experiment.rollout_tests import RolloutTests, exact, larger, mixture_ratio, two_shares


def test_p_values_are_those_of_the_textbook():
    alone = np.array([[[3]], [[11]]])
    assert exact(alone)[0, 0] == pytest.approx(binomtest(3, 14).pvalue)
    counts, rollouts = np.array([[[40]], [[60]]]), np.array([100])
    assert two_shares(counts, rollouts)[0, 0] == pytest.approx(0.004678, abs=1e-5)  # z = 20 / sqrt(50)


def test_the_ratio_of_a_mixture_is_an_integral():
    likely = quad(lambda rate: rate**5 * (1 - rate) ** 2, 0, 1)[0]
    assert np.exp(mixture_ratio(np.array([[[5]], [[2]]])))[0, 0] == pytest.approx(likely * 2**7)


def test_policies_share_their_luck_where_places_give_it():
    random = np.random.default_rng(0)
    same = RolloutTests(alike=1.0).outcomes(0.0, random)
    assert (same[0] == same[1]).all()
    apart = RolloutTests(alike=1.0).outcomes(0.2, random)
    assert (apart[1] | ~apart[0]).all(), "who is better succeeds wherever the other does"
    free = RolloutTests().outcomes(0.0, random)
    assert abs(np.corrcoef(free[0].ravel(), free[1].ravel())[0, 1]) < 0.02


def test_looking_often_breaks_a_level_that_the_mixture_keeps():
    false = {test: RolloutTests(test=test, comparisons=400).measure(80)["false"] for test in ("once", "peeking", "mixture")}
    assert false["peeking"] > 0.15 and false["mixture"] < 0.05 and false["once"] < 0.09


def test_one_look_at_a_posterior_is_as_strict_as_one_test():
    counts, rollouts = np.random.default_rng(1).binomial(200, 0.5, (2, 4000, 1)), np.array([200])
    assert larger(counts, rollouts, 0.05).mean() == pytest.approx((two_shares(counts, rollouts) < 0.05).mean(), abs=0.01)


def test_the_last_look_is_at_the_last_rollout():
    last = RolloutTests(test="peeking", every=300, comparisons=50).measure(80)
    assert last == RolloutTests(test="once", comparisons=50).measure(80)


def test_rates_over_one_are_refused():
    with pytest.raises(ValidationError, match="apart: a success of"):
        RolloutTests(rate=0.9)
