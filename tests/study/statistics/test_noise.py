"""What is known of the noise beforehand: planted priors are found, and made-up records of a section become the noise of a race."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import special

from windtunnel.study.prior import known_noise
from windtunnel.study.result import StudyResult
from windtunnel.study.statistics.noise import BOUND_FREEDOM, noise_of_differences, prior_of
from windtunnel.study.statistics.sequential import DISAGREES


def variances(random: np.random.Generator, freedom: float, count: int, own: int = 4) -> np.ndarray:
    """Estimates with ``own`` degrees of freedom of variances that are 1 in the prior."""
    return freedom / random.chisquare(freedom, count) * random.chisquare(own, count) / own


def test_a_planted_prior_is_found():
    random = np.random.default_rng(0)
    for freedom in (2.0, 6.0, 20.0):
        found = prior_of(list(4 * variances(random, freedom, 4000)), [4] * 4000)
        assert found.freedom == pytest.approx(freedom, rel=0.2) and found.sd == pytest.approx(2, rel=0.05)
    assert prior_of([1.0] * 6, [4] * 6).freedom == 3, "of six that are alike by chance nobody knows that the next is like them"


@pytest.mark.parametrize("freedom", [3.0, 20.0])
def test_a_prior_from_few_settings_calls_no_more_than_stated(freedom):
    """Three seeds of a further arm, with the prior that six settings gave and without where its own spread is higher."""
    random, wrong, trials = np.random.default_rng(1), 0, 1000
    for _ in range(trials):
        found = prior_of(list(variances(random, freedom, 6)), [4] * 6)
        x = random.standard_normal(3) * math.sqrt(freedom / random.chisquare(freedom))
        own, known = x.var(ddof=1), 0.0
        if special.fdtrc(2, found.freedom, own / found.sd**2) > DISAGREES:
            own, known = (found.freedom * found.sd**2 + 2 * own) / (found.freedom + 2), found.freedom
        wrong += abs(x.mean()) / math.sqrt(own / 3) > special.stdtrit(2 + known, 0.975)
    assert wrong / trials < 0.05 + 3 * math.sqrt(0.05 * 0.95 / trials)


def test_many_seeds_of_the_baseline_alone_bound_the_noise():
    random = np.random.default_rng(2)
    baseline = dict(enumerate(2 + 0.01 * random.standard_normal(64)))
    found = noise_of_differences(baseline, [])
    assert found.noise.sd == pytest.approx(math.sqrt(2) * 0.01, rel=0.2) and (found.noise.freedom, found.settings) == (BOUND_FREEDOM, 0)
    assert noise_of_differences({seed: baseline[seed] for seed in range(7)}, []) is None
    assert noise_of_differences(dict.fromkeys(range(20), 2.0), []) is None


def test_settings_that_share_seeds_say_more_than_the_baseline():
    """Pairing helps: what is common to a seed drops out of a difference."""
    random = np.random.default_rng(3)
    common = 0.05 * random.standard_normal(12)
    baseline = dict(enumerate(2 + common))
    others = [dict(enumerate(1.9 + common + 0.01 * random.standard_normal(12))) for _ in range(9)]
    found = noise_of_differences(baseline, others)
    assert found.settings == 9 and found.noise.sd == pytest.approx(0.01, rel=0.3) and found.noise.freedom <= 4.5
    few = noise_of_differences(baseline, [*others[:4], {0: 1.0, 1: 2.0}])
    assert few.settings == 0 and few.noise.sd > 0.03


def committed(seeds: int, exposure: float = 20.0, arms: int = 0, metric: str = "bits_per_byte") -> StudyResult:
    """A made-up result of a section: its baseline at half, one and two budgets, and arms."""
    random = np.random.default_rng(seeds)
    runs = [
        {"arm": arm, "multiple": multiple, "seed": seed, "status": "finished", "test": {metric: 2 + 0.01 * random.standard_normal()}}
        for arm, multiple in [("baseline", 0.5), ("baseline", 1.0), ("baseline", 2.0), *((f"a{number}", 1.0) for number in range(arms))]
        for seed in range(seeds if multiple == 1 else 3)
    ]
    return StudyResult.model_validate(
        {
            "study": {"metric": metric, "curve": [0.5, 1.0, 2.0]},
            "baseline": {"tokens_per_parameter": exposure},
            "arms": {f"a{number}": {} for number in range(arms)},
            "runs": runs,
        }
    )


def test_the_committed_results_of_a_section_become_the_noise_of_a_race():
    found = known_noise([committed(12), committed(64)], "bits_per_byte", 15.0, "section S")
    assert found.source == "64 seeds of section S, as if pairing helped nothing" and found.freedom == BOUND_FREEDOM
    assert found.sd == pytest.approx(math.sqrt(2) * 0.01, rel=0.3)
    paired = known_noise([committed(12, arms=6)], "bits_per_byte", 20.0, "section S")
    assert paired.source == "12 seeds of section S, 6 settings paired with it"
    assert known_noise([committed(64)], "bits_per_byte", 200.0, "section S") is None, "nothing is known at ten times the tokens"
    assert known_noise([committed(64)], "accuracy", 20.0, "section S") is None
    assert known_noise([], "bits_per_byte", 20.0, "section S") is None
