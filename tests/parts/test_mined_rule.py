"""A rule of indicators: each is what it is called, tuning goes downhill, and faults are told from good examples."""

from __future__ import annotations

import numpy as np
import pytest

from windtunnel.parts.experiment import mined_rule
from windtunnel.parts.experiment.mined_rule import INDICATORS, Examples, MinedRule, indicators, nats, spoiled, tuned


@pytest.fixture(scope="module")
def examples() -> Examples:
    random = np.random.default_rng(107)
    return Examples(random.integers(0, 17, (12, 64)) / 16, random.integers(0, 10, 12), np.zeros(12))


def test_indicators_are_what_they_are_called(examples):
    base = np.random.default_rng(108).standard_normal((65, 10)) * 0.1
    found = dict(zip(INDICATORS, indicators(examples, base).T, strict=True))
    logits = examples.pixels[3] @ base[:64] + base[64]
    chances = np.exp(logits) / np.exp(logits).sum()
    assert found["length"][3] == pytest.approx(examples.pixels[3].sum())
    assert found["perplexity"][3] == pytest.approx(-np.log(chances[examples.labels[3]]), rel=1e-6)
    assert found["doubt"][3] == pytest.approx(-(chances * np.log(chances)).sum(), rel=1e-6)
    _, often = np.unique(examples.pixels[3], return_counts=True)
    assert found["variety"][3] == pytest.approx(-(often / 64 * np.log(often / 64)).sum(), rel=1e-6)
    others = np.delete(examples.pixels, 3, axis=0)
    assert found["distance"][3] == pytest.approx(np.linalg.norm(others - examples.pixels[3], axis=1).min())


def test_tuning_lowers_the_loss(examples):
    zero = np.zeros((65, 10))
    losses = [nats(tuned(zero, examples.pixels, examples.labels, steps), examples.pixels, examples.labels).mean() for steps in (0, 5, 60)]
    assert losses[0] == pytest.approx(np.log(10)) and losses[0] > losses[1] > losses[2]


def test_faults_are_as_often_as_said():
    random = np.random.default_rng(109)
    pixels, labels = random.random((50, 64)) + 0.1, random.integers(0, 10, 50)
    clean = spoiled(pixels, labels, np.arange(50), np.zeros(3), random)
    assert not clean.faulty.any() and (clean.pixels == pixels).all() and (clean.labels == labels).all()
    cut = spoiled(pixels, labels, np.arange(50), np.array([0, 1, 0]), random)
    assert cut.faulty.all() and not cut.pixels[:, 32:].any()
    wrong = spoiled(pixels, labels, np.arange(50), np.array([1, 0, 0]), random)
    assert (wrong.labels != labels).all()


def test_losses_are_foretold_and_the_rule_avoids_faults():
    rule, any_ = (MinedRule(how=how, pool=200).measure(111) for how in ("rule", "random"))
    assert rule["foretold"] > 0.3 and rule["faulty"] < any_["faulty"] and rule["foretold_single"] == any_["foretold_single"]


def test_no_example_comes_twice_by_chance(monkeypatch):
    sets = []

    def noted(pixels, labels, chosen, often, random):
        sets.append(chosen)
        return spoiled(pixels, labels, chosen, often, random)

    monkeypatch.setattr(mined_rule, "spoiled", noted)
    MinedRule(subsets=8, pool=690).measure(112)
    assert all(len(np.unique(one)) == len(one) for one in sets) and len(sets[-1]) == 690
    assert not set(sets[-1]) & set(np.concatenate(sets[:-1])) and not set(np.concatenate(sets[:8])) & set(np.concatenate(sets[8:-1]))
