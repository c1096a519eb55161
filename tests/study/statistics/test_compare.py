"""Statistics of a study: by hand where a hand can, by simulation where only that shows whether an interval keeps its promise."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from windtunnel.study.statistics.calibration import calibrate
from windtunnel.study.statistics.compare import (
    Interval,
    adjusted_confidence,
    compare,
    compute_gain,
    interval,
    paired_interval,
    required_seeds,
    verdict,
)

MULTIPLES = (0.5, 1.0, 2.0)


def curve_of(loss, seeds=3, noise=None):
    """Baseline and its noise-free curve: ``{multiple: {seed: value}}``."""
    return {m: {s: loss(m) + (noise(m, s) if noise else 0.0) for s in range(seeds)} for m in MULTIPLES}


def power_law(multiple):
    return 1.0 + 1.5 * multiple**-0.3


# Intervals ----------------------------------------------------------------------------------------------------------------------


def test_paired_interval_is_the_paired_t_test_of_scipy():
    arm, baseline = [2.1, 2.4, 2.2, 2.35], [2.0, 2.5, 2.3, 2.41]
    found = paired_interval(arm, baseline, 0.9)
    expected = stats.ttest_rel(arm, baseline).confidence_interval(0.9)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert found.mean == pytest.approx(np.mean(np.subtract(arm, baseline)))
    assert found.sd == pytest.approx(np.std(np.subtract(arm, baseline), ddof=1))
    assert found.n == 4


def test_pairing_removes_what_seeds_share():
    baseline = [1.0, 5.0, 9.0]
    found = paired_interval([value + 0.1 for value in baseline], baseline, 0.95)
    assert found.high - found.low < 1e-9


def test_one_seed_bounds_nothing():
    found = paired_interval([1.0], [2.0], 0.95)
    assert (found.mean, found.low, found.high, found.n) == (-1.0, -math.inf, math.inf, 1)
    assert math.isnan(found.sd)


def test_what_cannot_be_paired_is_refused():
    with pytest.raises(ValueError, match="2 values of the arm cannot be paired with 1"):
        paired_interval([1.0, 2.0], [1.0], 0.95)
    with pytest.raises(ValueError, match="at least one"):
        interval([], 0.95)


def test_bonferroni():
    assert adjusted_confidence(0.95, 1) == pytest.approx(0.95)
    assert adjusted_confidence(0.95, 5) == pytest.approx(0.99)


# Verdicts -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("low", "high", "lower_is_better", "higher_is_better"),
    [
        (-0.3, -0.2, "helps", "hurts"),
        (0.2, 0.3, "hurts", "helps"),
        (-0.05, 0.05, "no difference", "no difference"),
        (-0.09, -0.01, "no difference", "no difference"),  # surely not zero, as surely too small to matter
        (-0.3, -0.01, "helps", "hurts"),
        (-0.3, 0.01, "undecided", "undecided"),
        (-math.inf, math.inf, "undecided", "undecided"),
    ],
)
def test_verdicts(low, high, lower_is_better, higher_is_better):
    difference = Interval((low + high) / 2, low, high, 3, 0.1)
    assert verdict(difference, 0.1, "lower") == lower_is_better
    assert verdict(difference, 0.1, "higher") == higher_is_better


def test_required_seeds_against_the_textbook():
    # Two-sided paired t test, effect of one standard deviation, 5 %, power 80 %: 10 pairs. Half of one: 34. Cohen 1988, table 2.4.
    assert required_seeds(1.0, 1.0, 0.0, 0.95) == 10
    assert required_seeds(1.0, -0.5, 0.0, 0.95) == 34
    assert required_seeds(1.0, 0.001, 0.0, 0.95) is None
    assert required_seeds(math.nan, 1.0, 0.1, 0.95) is None
    assert required_seeds(0.0, 1.0, 0.1, 0.95) == 2
    assert required_seeds(1e-6, 1.0, 0.1, 0.95) in (2, 3)  # where the noncentral series itself gives no number


@pytest.mark.parametrize(("mean", "margin"), [(1.0, 0.1), (0.0, 1.0), (0.3, 1.0)])
def test_required_seeds_decide_as_often_as_promised(mean, margin):
    seeds = required_seeds(1.0, mean, margin, 0.95)
    random = np.random.default_rng(1)

    def decided(n):
        return np.mean([verdict(interval(random.normal(mean, 1, n), 0.95), margin) != "undecided" for _ in range(1500)])

    assert decided(seeds) > 0.77
    assert decided(max(2, round(0.6 * seeds))) < 0.8  # and the number is not wastefully large


# Compute gain -------------------------------------------------------------------------------------------------------------------


@given(st.floats(0.5, 2.0), st.sampled_from([0.0, 0.1, 0.3, 0.7]), st.floats(0, 3))
@settings(max_examples=60, deadline=None)
def test_gain_without_noise_is_the_truth(truth, exponent, irreducible):
    def loss(multiple):
        return irreducible + (multiple**-exponent if exponent else -0.2 * math.log(multiple))

    gain = compute_gain({s: loss(truth) for s in range(3)}, curve_of(loss), 0.95)
    assert gain.value == pytest.approx(truth, rel=2e-3)
    assert gain.low <= gain.value <= gain.high
    assert gain.bounded is None or min(abs(truth - 0.5), abs(truth - 2)) < 1e-6


def test_gain_beyond_the_curve_is_a_bound():
    noise = np.random.default_rng(0).normal(0, 0.002, (3, 3))
    curve = curve_of(power_law, noise=lambda m, s: noise[MULTIPLES.index(m), s])
    better = compute_gain({s: power_law(8) for s in range(3)}, curve, 0.95)
    assert (better.value, better.low, better.high, better.bounded) == (2, 2, 2, "at least")
    assert better.high_open and not better.low_open
    worse = compute_gain({s: power_law(0.1) for s in range(3)}, curve, 0.95)
    assert (worse.value, worse.low, worse.high, worse.bounded) == (0.5, 0.5, 0.5, "at most")
    assert worse.low_open and not worse.high_open


def test_one_seed_or_a_curve_in_noise_leaves_the_gain_open():
    one = compute_gain({0: power_law(1.3)}, {m: {0: power_law(m)} for m in MULTIPLES}, 0.95)
    assert one.value == pytest.approx(1.3, rel=2e-3)
    assert (one.low, one.high, one.low_open, one.high_open) == (0.5, 2, True, True)
    random = np.random.default_rng(3)
    lost = compute_gain({s: random.normal() for s in range(4)}, {m: {s: random.normal() for s in range(4)} for m in MULTIPLES}, 0.95)
    assert (lost.low, lost.high) == (0.5, 2)


def test_a_curve_that_does_not_fall_is_pooled():
    rising = {0.5: {0: 3.0, 1: 3.01}, 1.0: {0: 2.0, 1: 2.01}, 2.0: {0: 2.2, 1: 2.21}}
    gain = compute_gain({0: 2.5, 1: 2.51}, rising, 0.95)
    assert 0.5 < gain.value < 1
    flat = {m: {0: 2.0, 1: 2.0} for m in MULTIPLES}
    assert compute_gain({0: 1.9, 1: 1.9}, flat, 0.95).bounded == "at least"
    assert compute_gain({0: 2.0, 1: 2.0}, flat, 0.95).value == pytest.approx(1)


def test_gain_needs_a_curve_and_a_common_seed():
    assert compute_gain({0: 1.0}, {1.0: {0: 1.0}, 2.0: {}}, 0.95) is None
    assert compute_gain({5: 1.0}, curve_of(power_law), 0.95) is None


@given(st.integers(0, 10**6), st.integers(2, 6), st.floats(0.001, 0.3))
@settings(max_examples=60, deadline=None)
def test_gain_and_difference_never_contradict_each_other(seed, n, spread):
    random = np.random.default_rng(seed)
    curve = curve_of(power_law, n, lambda m, s: random.normal(0, spread))
    arm = {s: power_law(random.uniform(0.6, 1.7)) + random.normal(0, spread) for s in range(n)}
    gain = compute_gain(arm, curve, 0.95)
    difference = paired_interval([arm[s] for s in range(n)], [curve[1.0][s] for s in range(n)], 0.95)
    if difference.low < 0 < difference.high:
        assert gain.low <= 1 <= gain.high
    else:
        # Outside, unless the test rejects neither side of 1 (possible on a curve lost in noise), which the hull then joins.
        assert not gain.low <= 1 <= gain.high or n == 2 or spread > 0.005
    assert 0.5 <= gain.low <= gain.value <= gain.high <= 2


@pytest.mark.parametrize("seeds", [3, 5, 8])
@pytest.mark.parametrize(("noise", "shared"), [(0.01, 0.05), (0.05, 0.0)])
def test_gain_intervals_cover_the_truth_as_often_as_stated(seeds, noise, shared):
    random = np.random.default_rng(seeds)
    studies = 250
    for truth in (0.5, 1.0, 2**0.5, 2.0):
        covered = 0
        for _ in range(studies):
            common = random.normal(0, shared, seeds)
            curve = curve_of(power_law, seeds, lambda m, s: common[s] + random.normal(0, noise))  # noqa: B023
            arm = {s: power_law(truth) + common[s] + random.normal(0, noise) for s in range(seeds)}
            gain = compute_gain(arm, curve, 0.95)
            covered += gain.low <= truth <= gain.high
        # The least count that 95 % coverage leaves with a chance of one in a thousand.
        assert covered >= stats.binom.ppf(0.001, studies, 0.95), truth


# A whole study ------------------------------------------------------------------------------------------------------------------


def test_false_calls_of_a_null_study_stay_within_the_stated_rate():
    random = np.random.default_rng(7)
    studies, called = 300, 0
    for _ in range(studies):
        baseline = {m: dict(enumerate(power_law(m) + random.normal(0, 0.02, 4))) for m in MULTIPLES}
        arms = {f"arm {k}": dict(enumerate(power_law(1) + random.normal(0, 0.02, 4))) for k in range(3)}
        found = compare(baseline, arms, confidence=0.9, margin=1e-6)
        called += any(arm["verdict"] in ("helps", "hurts") for arm in found["arms"].values())
    assert called <= stats.binom.ppf(0.999, studies, 0.1)
    assert called >= stats.binom.ppf(0.001, studies, 0.03)  # nor does it buy this by never calling anything


def study(random, n=4):
    shift = random.normal(0, 0.05, n)
    baseline = {m: {s: power_law(m) + shift[s] + random.normal(0, 0.01) for s in range(n)} for m in MULTIPLES}
    arms = {
        name: {s: power_law(g) + shift[s] + random.normal(0, 0.01) for s in range(n)}
        for name, g in (("good", 1.6), ("bad", 0.7), ("null", 1))
    }
    return baseline, arms


def close(one, other):
    """Whether two results are equal up to rounding."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(close(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(close, one, other))
    return one == other or (isinstance(one, float) and one == pytest.approx(other, rel=1e-6, abs=1e-9))


def test_a_study_finds_what_was_put_in():
    baseline, arms = study(np.random.default_rng(0), 6)
    found = compare(baseline, arms, margin=0.02)
    assert {name: arm["verdict"] for name, arm in found["arms"].items()} == {"good": "helps", "bad": "hurts", "null": "no difference"}
    assert found["confidence"] == pytest.approx(1 - 0.05 / 3)
    good = found["arms"]["good"]
    assert good["low"] < good["difference"] < good["high"] < 0
    assert good["compute_gain"]["low"] < 1.6 < good["compute_gain"]["high"]
    assert good["mean"] - found["baseline"]["mean"] == pytest.approx(good["difference"])
    assert [point["multiple"] for point in found["baseline"]["curve"]] == [0.5, 1, 2]
    json.dumps(found, allow_nan=False)


@given(st.integers(0, 10**6), st.floats(0.01, 100), st.randoms())
@settings(max_examples=25, deadline=None)
def test_order_scale_and_direction_change_nothing(seed, scale, shuffler):
    baseline, arms = study(np.random.default_rng(seed))
    plain = compare(baseline, arms)

    def shuffled(mapping):
        items = list(mapping.items())
        shuffler.shuffle(items)
        return dict(items)

    assert close(compare({m: shuffled(v) for m, v in shuffled(baseline).items()}, {k: shuffled(v) for k, v in arms.items()}), plain)

    def times(factor):
        return {m: {s: factor * x for s, x in v.items()} for m, v in baseline.items()}, {
            k: {s: factor * x for s, x in v.items()} for k, v in arms.items()
        }

    for other in (compare(*times(scale)), compare(*times(-scale), better="higher")):
        sign = 1 if other["baseline"]["mean"] > 0 else -1
        for name, arm in plain["arms"].items():
            twin = other["arms"][name]
            assert twin["verdict"] == arm["verdict"]
            assert twin["required_seeds"] == arm["required_seeds"]
            assert twin["difference"] == pytest.approx(sign * scale * arm["difference"], rel=1e-6)
            assert close(twin["compute_gain"], arm["compute_gain"])


def test_missing_failed_and_unfinished_runs():
    baseline, arms = study(np.random.default_rng(2), 5)
    del arms["good"][1]
    arms["bad"][0] = math.nan
    del baseline[2.0][4]
    found = compare(baseline, {**arms, "crashed": {}, "stranger": {77: 2.0}})["arms"]
    assert (found["good"]["seeds"], found["bad"]["seeds"], found["null"]["seeds"]) == (4, 4, 5)
    paired = [s for s in range(5) if s != 1]
    assert found["good"]["difference"] == pytest.approx(np.mean([arms["good"][s] - baseline[1.0][s] for s in paired]))
    assert found["crashed"]["verdict"] == "failed"
    assert found["crashed"]["difference"] is None
    assert found["crashed"]["compute_gain"] == dict.fromkeys(["value", "low", "high", "bounded", "low_open", "high_open"])
    assert (found["stranger"]["verdict"], found["stranger"]["seeds"]) == ("undecided", 0)

    single = compare({1: {0: 2.0}}, {"arm": {0: 1.9}})
    json.dumps(single, allow_nan=False)
    assert single["arms"]["arm"]["verdict"] == "undecided"
    assert single["arms"]["arm"]["low"] is None and single["arms"]["arm"]["required_seeds"] is None

    empty = compare({1: {}}, {"arm": {0: 1.9}})
    assert empty["baseline"]["mean"] is None
    assert empty["arms"]["arm"]["verdict"] == "undecided"
    with pytest.raises(ValueError, match="lower or higher"):
        compare(baseline, arms, better="best")


def test_an_undecided_arm_is_told_more_seeds_than_it_has():
    random = np.random.default_rng(5)
    for _ in range(40):
        baseline = {m: dict(enumerate(power_law(m) + random.normal(0, 0.05, 3))) for m in MULTIPLES}
        arm = compare(baseline, {"arm": dict(enumerate(power_law(1.4) + random.normal(0, 0.05, 3)))})["arms"]["arm"]
        if arm["verdict"] == "undecided":
            assert arm["required_seeds"] is None or arm["required_seeds"] > 3
        else:
            assert arm["required_seeds"] is None


def test_the_curve_is_read_at_what_was_spent():
    spent = {0.5: 0.9e12, 1.0: 2e12, 2.0: 4.4e12}
    baseline = {m: {s: power_law(flops / 2e12) for s in range(3)} for m, flops in spent.items()}
    gain = compare(baseline, {"arm": {s: power_law(1.5) for s in range(3)}}, spent=spent)["arms"]["arm"]["compute_gain"]
    assert gain["value"] == pytest.approx(1.5, rel=2e-3)
    top = compare(baseline, {"arm": {s: power_law(5) for s in range(3)}}, spent=spent)["arms"]["arm"]["compute_gain"]
    assert (top["value"], top["bounded"]) == (pytest.approx(2.2), "at least")


# Calibration of the instrument --------------------------------------------------------------------------------------------------


def pool_of(random, noise=0.01, runs=40):
    shared = random.normal(0, noise, runs)
    return {m: list(power_law(m) + shared + random.normal(0, noise, runs)) for m in MULTIPLES}


def test_the_instrument_is_calibrated_on_a_pool_of_known_truth():
    found = calibrate(pool_of(np.random.default_rng(0)), studies=150, arms=2, seeds=3, confidence=0.9)
    assert found["within_stated_rate"]
    assert found["stated_rate"] == pytest.approx(0.1)
    assert found["pool"] == {"0.5": 40, "1": 40, "2": 40}
    for truth in ("0.5", "1", "2"):
        gain = found["gain"][truth]
        assert gain["covered"]["high"] >= 0.9
        assert gain["low"] <= float(truth) <= gain["high"]
        assert gain["median"] == pytest.approx(float(truth), rel=0.15)
    assert found == calibrate(pool_of(np.random.default_rng(0)), studies=150, arms=2, seeds=3, confidence=0.9)
    json.dumps(found, allow_nan=False)


def test_a_broken_instrument_is_found_out(monkeypatch):
    """With the multiplicity correction taken away, many arms are called too often, and the calibration says so."""
    monkeypatch.setattr("windtunnel.study.statistics.compare.adjusted_confidence", lambda confidence, arms: 0.6)
    found = calibrate(pool_of(np.random.default_rng(0)), studies=60, arms=4, seeds=3)
    assert not found["within_stated_rate"]
    assert found["false_calls"]["low"] > 0.05


def test_rates_have_scipys_exact_interval():
    rate = calibrate(pool_of(np.random.default_rng(1)), studies=30, confidence=0.7)["false_calls"]
    expected = stats.binomtest(rate["count"], 30).proportion_ci(0.95, "exact")
    assert (rate["low"], rate["high"]) == pytest.approx((expected.low, expected.high))


def test_a_pool_too_small_is_refused():
    with pytest.raises(ValueError, match="5 runs at 1 of the budget; one study draws 6"):
        calibrate({0.5: [1.0] * 9, 1: [1.0] * 5, 2: [1.0] * 9})
    with pytest.raises(ValueError, match="0 runs at 2"):
        calibrate({0.5: [1.0] * 9, 1: [1.0] * 9})
