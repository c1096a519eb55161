"""Looking several times: exact where a formula can tell, against simulation where only that shows that the error is held."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from windtunnel.study.statistics.compare import interval
from windtunnel.study.statistics.sequential import (
    SPENDING,
    Noise,
    agrees,
    boundary,
    chance,
    moderated,
    repeated_confidence,
    repeated_interval,
)

LOOKS = (3, 6, 9, 12)


def crossed(looks, boundaries, freedom=0.0, studies=200_000, effect=0.0, sd=1.0):
    """The share of simulated studies that crossed a boundary by each look; with ``freedom``, their noise is drawn from the prior."""
    random = np.random.default_rng(0)
    x = random.standard_normal((studies, looks[-1]))
    prior = freedom * np.ones(studies)
    if freedom:
        x *= np.sqrt(freedom / random.chisquare(freedom, studies))[:, None]
    sums, squares = (x * sd + effect).cumsum(axis=1), ((x * sd + effect) ** 2).cumsum(axis=1)
    over, found = np.zeros(studies, dtype=bool), []
    for n, limit in zip(looks, boundaries, strict=True):
        spread = (squares[:, n - 1] - sums[:, n - 1] ** 2 / n + prior) / (n - 1 + freedom)
        over |= np.abs(sums[:, n - 1]) > limit * np.sqrt(n * spread)
        found.append(over.mean())
    return found


def boundaries(looks, most, confidence, freedom=0.0):
    return [boundary(looks[: k + 1], most, confidence, freedom) for k in range(len(looks))]


# Boundaries ---------------------------------------------------------------------------------------------------------------------


def test_the_first_boundary_is_students():
    alpha = 0.05 * (3 / 12) ** SPENDING
    assert boundary([3], 12, 0.95) == pytest.approx(stats.t.isf(alpha / 2, 2))
    assert boundary([3], 12, 0.95, freedom=4.5) == pytest.approx(stats.t.isf(alpha / 2, 6.5))
    assert boundary([7], 7, 0.9) == pytest.approx(stats.t.isf(0.05, 6))


@pytest.mark.parametrize(
    ("looks", "confidence", "freedom"),
    [(LOOKS, 0.95, 0.0), (LOOKS, 0.99, 0.0), (LOOKS, 0.95, 6.0), ((2, 3, 5, 9), 0.9, 0.0), ((4, 6, 12), 0.95, 2.5)],
)
def test_what_is_spent_by_each_look_is_what_was_planned(looks, confidence, freedom):
    found = crossed(looks, boundaries(looks, looks[-1], confidence, freedom), freedom)
    for share, n in zip(found, looks, strict=True):
        planned = (1 - confidence) * (n / looks[-1]) ** SPENDING
        assert abs(share - planned) < 4 * math.sqrt(planned / 200_000)


def test_boundaries_fall_and_stay_above_those_of_one_look():
    for confidence in (0.8, 0.95, 0.997):
        found = boundaries(LOOKS, 12, confidence)
        assert found == sorted(found, reverse=True)
        assert all(limit > stats.t.isf((1 - confidence) / 2, n - 1) for limit, n in zip(found, LOOKS, strict=True))


def test_however_much_is_known_of_the_noise_the_error_is_held():
    """Where the noise is known, t is z; a prior counts for at most 100 degrees of freedom, so a little of the error is left over."""
    found = boundaries(LOOKS, 12, 0.95, freedom=1e6)
    sums = np.random.default_rng(1).standard_normal((200_000, 4)).cumsum(axis=1) / np.sqrt(np.arange(1, 5))
    assert 0.04 < (np.abs(sums) > found).any(axis=1).mean() < 0.05


def test_looks_must_rise():
    for looks in ([1], [3, 3], [6, 3]):
        with pytest.raises(ValueError, match="must rise"):
            boundary(looks, 12, 0.95)


# Intervals ----------------------------------------------------------------------------------------------------------------------


def test_the_repeated_interval_is_students_at_a_higher_confidence():
    values = [0.1, 0.3, -0.2, 0.4, 0.15, 0.05]
    one, other = repeated_interval(values, [3, 6], 12, 0.95), interval(values, repeated_confidence([3, 6], 12, 0.95))
    assert one == pytest.approx(other)
    assert 0.95 < repeated_confidence([3, 6], 12, 0.95) < repeated_confidence([3], 12, 0.95)


def test_all_intervals_of_a_race_hold_the_truth_together():
    values = np.random.default_rng(2).standard_normal((20_000, 12)) * 0.3 + 1.7
    missed = np.zeros(len(values), dtype=bool)
    for k, n in enumerate(LOOKS):
        seen = values[:, :n]
        limit = repeated_interval(values[0, :n], LOOKS[: k + 1], 12, 0.9)
        half = (limit.high - limit.mean) / limit.sd * seen.std(axis=1, ddof=1)
        missed |= np.abs(seen.mean(axis=1) - 1.7) > half
    assert missed.mean() == pytest.approx(0.1, abs=0.008)


def test_a_prior_shortens_intervals_of_few_seeds_and_centres_them_the_same():
    values = [0.1, 0.3, -0.2]
    plain, known = (repeated_interval(values, [3], 12, 0.95, noise) for noise in (None, Noise(0.25, 10)))
    assert known.mean == plain.mean
    assert known.high - known.low < (plain.high - plain.low) / 3
    assert known.sd == pytest.approx(moderated(interval(values, 0.95).sd, 3, Noise(0.25, 10)))


def test_moderation_is_smyths():
    assert moderated(0.4, 5, Noise(0.2, 6)) == pytest.approx(math.sqrt((6 * 0.04 + 4 * 0.16) / 10))
    assert moderated(0.4, 5, None) == 0.4


def test_only_a_spread_above_the_prior_disagrees():
    noise = Noise(1.0, 20)
    limit = math.sqrt(stats.f.isf(0.01, 4, 20))
    assert agrees(limit * 0.999, 5, noise) and not agrees(limit * 1.001, 5, noise)
    assert agrees(1e-6, 5, noise)


# Giving up ----------------------------------------------------------------------------------------------------------------------


def test_the_chance_of_a_verdict_is_that_of_drawing_the_other_seeds():
    """Against a simulation that draws mean and later seeds from what six seeds say, the spread taken as known."""
    random = np.random.default_rng(3)
    found = interval([0.3, -0.1, 0.25, 0.6, 0.0, 0.2], 0.95)
    half, margin, large = 0.21, 0.3, 10_000.0
    mean = found.mean + random.standard_normal(100_000) * found.sd / math.sqrt(6)
    later = mean + random.standard_normal(100_000) * found.sd / math.sqrt(6)
    last = (found.mean + later) / 2
    decided = (np.abs(last) > half) | (np.abs(last) < margin - half)
    assert chance(found, 12, half, margin, large) == pytest.approx(decided.mean(), abs=0.01)
    assert chance(found, 12, half, margin, 5) != pytest.approx(chance(found, 12, half, margin, large), abs=0.001)


def test_a_clear_effect_has_a_chance_and_a_drowned_one_has_none():
    clear, drowned = interval([1.0, 1.1, 0.9], 0.95), interval([0.01, 1.0, -1.0, 0.5, -0.5, 0.02], 0.95)
    assert chance(clear, 12, 0.1, 0.01, 2) > 0.99
    assert chance(drowned, 12, 0.6, 0.01, 5) < 0.05
    assert chance(interval([0.5, 0.5], 0.95), 12, 0.0, 0.1, 1) == 1.0
