"""The default margin: what a tenth of the compute buys."""

from __future__ import annotations

import pytest

from windtunnel.study.statistics.compare import compute_gain
from windtunnel.study.statistics.margin import COMPUTE, SHARE, margin_share

NOISE = {0: 0.01, 1: -0.02, 2: 0.015}


def curve(loss, multiples=(0.5, 1.0, 2.0), noise=NOISE):
    return {m: {seed: loss(m) + shift for seed, shift in noise.items()} for m in multiples}


@pytest.mark.parametrize("loss", [lambda m: 1 + 1.5 * m**-0.3, lambda m: 3 - 0.2 * m**0.01, lambda m: 2 + m**-1.0])
def test_an_arm_better_by_the_margin_gains_a_tenth_of_the_compute(loss):
    share, compute = margin_share(curve(loss))
    mean = sum(curve(loss)[1.0].values()) / 3
    arm = {seed: value - share * mean for seed, value in curve(loss)[1.0].items()}
    assert compute == COMPUTE
    assert compute_gain(arm, curve(loss), 0.95).value == pytest.approx(1.1, abs=0.002)
    assert share * mean == pytest.approx(loss(1) - loss(1.1), rel=0.05)


def test_where_more_is_better_the_margin_is_as_large():
    rising = {m: {seed: 10 - value for seed, value in values.items()} for m, values in curve(lambda m: 3 - 0.2 * m**0.5).items()}
    assert margin_share(rising, "higher")[1] == COMPUTE and margin_share(rising, "higher")[0] > 0
    assert margin_share(rising, "lower") == (SHARE, None)


def test_compute_is_what_was_spent_and_not_what_was_asked_for():
    loss = lambda m: 1 + 1.5 * m**-0.3  # noqa: E731
    measured = {0.5: 5.0, 1.0: 10.0, 2.0: 30.0}
    stretched = {0.5: 0.5, 1.0: 1.0, 2.0: 3.0}
    found = {m: {seed: loss(stretched[m]) + shift for seed, shift in NOISE.items()} for m in measured}
    mean = sum(found[1.0].values()) / 3
    assert margin_share(found, spent=measured)[0] * mean == pytest.approx(loss(1) - loss(1.1), rel=0.05)


@pytest.mark.parametrize(
    "found",
    [
        {},
        curve(lambda m: 3 / m, multiples=(1.0,)),
        curve(lambda m: 3 / m, multiples=(0.5, 1.0)),
        curve(lambda m: 3 / m, noise={0: 0.0}),
        curve(lambda m: 3 + m),
        {1.0: {0: 3.0, 1: 3.1, 2: 2.9}, 2.0: {0: 2.7, 1: 3.2, 2: 2.8}},
    ],
)
def test_a_curve_that_cannot_tell_leaves_half_a_percent(found):
    assert margin_share(found) == (SHARE, None)
