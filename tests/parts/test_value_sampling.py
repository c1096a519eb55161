"""Steered texts: values are what a chain comes to, weights are those that are written down, and a control has none."""

from __future__ import annotations

import numpy as np
import pytest

from windtunnel.core.registry import make
from windtunnel.parts.experiment.value_sampling import LETTERS, learned_values, write
from windtunnel.slots import Experiment


def chain_of(seed: int) -> np.ndarray:
    chain = np.exp(np.random.default_rng(seed).standard_normal((LETTERS + 1, LETTERS)))
    return np.asarray(chain / chain.sum(axis=1, keepdims=True))


def test_learned_values_are_what_beginnings_come_to():
    chain, good = chain_of(0), np.eye(LETTERS)[3] + np.eye(LETTERS)[7]
    found = learned_values(write(chain, 8, 20_000, np.random.default_rng(1))[0], good)
    exact, ahead = [], np.zeros(LETTERS)
    for _ in range(8):
        exact.append(good + ahead)
        ahead = chain[:LETTERS] @ (good + ahead)
    centred, wanted = (each - each.mean(axis=1, keepdims=True) for each in (found, np.array(exact)))
    assert np.abs(centred - wanted).max() < 0.1 and np.allclose(found[0], good, atol=0.1)


def test_letters_are_weighted_among_the_likeliest():
    chain, value = chain_of(2), np.random.default_rng(3).standard_normal((1, LETTERS))
    texts, away = write(chain, 1, 200_000, np.random.default_rng(4), value, top=5)
    plain = chain[LETTERS]
    likely = plain >= np.sort(plain)[-5]
    wanted = np.where(likely, plain * np.exp(value[0] - value[0][likely].mean()), plain)
    wanted /= wanted.sum()
    assert np.bincount(texts[:, 0], minlength=LETTERS) / 200_000 == pytest.approx(wanted, abs=0.005)
    assert away == pytest.approx(float((wanted * np.log(wanted / plain)).sum()), abs=0.01)
    assert write(chain, 4, 50, np.random.default_rng(4))[1] == 0.0


def test_values_are_worth_many_texts_and_other_letters_nothing():
    def measured(**knobs: object) -> dict[str, float]:
        return make(Experiment, {"value-sampling": {"length": 12, "written": 400, **knobs}}).measure(0)

    alone, best, values = measured(), measured(how="best-of"), measured(how="values")
    assert alone["reward"] < best["reward"] and alone["reward"] + 1 < values["reward"]
    assert (alone["letters"], best["letters"], values["letters"]) == (12, 96, 12) and alone["divergence"] == 0 < values["divergence"]
    assert measured(how="values", second=1.0)["second"] > values["second"] + 1 and measured(how="shuffled")["reward"] < values["reward"] - 1
