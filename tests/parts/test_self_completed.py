"""Completions of a model of languages: the likeliest words, chances that sum to one, and a leak that shows."""

from __future__ import annotations

import numpy as np
import pytest

from windtunnel.parts.experiment.self_completed import LENGTH, WORDS, SelfCompleted, completed, drawn, languages, model, nats


def test_chances_sum_to_one_and_follow_counts():
    random = np.random.default_rng(120)
    texts = [drawn(chain, 400, random) for chain in languages(random)]
    tables = model(texts)
    assert all(table.sum(axis=1) == pytest.approx(np.ones(WORDS)) for table in tables)
    held = drawn(languages(np.random.default_rng(120))[0], 50, random)
    assert nats(tables[0], texts[0]) < nats(tables[1], texts[0]) and nats(tables[0], held) < np.log(WORDS)


def test_the_end_is_what_the_model_finds_likeliest():
    table = np.full((WORDS, WORDS), 1e-3)
    table[np.arange(WORDS), (np.arange(WORDS) + 1) % WORDS] = 1
    sentence = np.zeros((1, LENGTH), int)
    assert completed(table, sentence)[0].tolist() == [0] * (LENGTH - 2) + [1, 2]  # 15 percent of 12 words, and one


def test_held_out_text_that_leaked_looks_easy():
    found = {how: SelfCompleted(how=how).measure(121) for how in ("static", "leaking", "honest")}
    assert found["leaking"]["split"] < 0.8 * found["leaking"]["clean"]
    assert found["static"]["split"] == pytest.approx(found["static"]["clean"], rel=0.1)
    assert found["honest"]["split"] > found["leaking"]["split"]
