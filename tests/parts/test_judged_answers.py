"""Answers, their marks, and judges."""

from __future__ import annotations

import numpy as np
import pytest

from windtunnel.parts.experiment.judged_answers import (
    BLANK,
    KEYS,
    MEANINGS,
    WAYS,
    JudgedAnswers,
    cosines,
    meaning,
    reading,
    regression,
    said,
)


def test_answers_say_what_is_true_in_any_word():
    random = np.random.default_rng(200)
    truth = np.stack([random.permutation(MEANINGS)[:2] for _ in range(KEYS)])
    keys = random.integers(KEYS, size=4000)
    rows = said(truth, keys, random)
    assert (meaning(rows[:, 1:]) == truth[keys]).all() and (rows[:, 0] == keys).all()
    one = truth[keys] % 2 == 0
    assert ((rows[:, 1:] - KEYS) % WAYS == 0)[one].all() and ((rows[:, 1:] - KEYS) % WAYS == 0)[~one].mean() == pytest.approx(
        1 / WAYS, abs=0.02
    )
    assert meaning(np.array([[BLANK, 3]])).tolist() == [[-1, -1]]


def test_marks_know_no_order_and_leave_out_what_is_no_word():
    vectors = np.eye(WAYS * MEANINGS)
    one, other = np.array([[KEYS, KEYS + 50]]), np.array([[KEYS + 50, KEYS]])
    assert cosines(vectors, one, other) == pytest.approx([1])
    assert cosines(vectors, one, np.array([[KEYS, BLANK]])) == pytest.approx([0.5**0.5])


def test_a_regression_finds_what_is_linear():
    given = np.random.default_rng(201).standard_normal((500, 3))
    assert np.corrcoef(regression(given, given @ [1.0, -2.0, 0.0] + 3)(given), given @ [1.0, -2.0, 0.0])[0, 1] > 0.999


def test_likelihoods_are_those_of_words():
    import torch

    class Even:
        norm = staticmethod(lambda state: state)
        states = staticmethod(lambda tokens: [torch.zeros(*tokens.shape, 2)])

        def __call__(self, tokens: torch.Tensor) -> torch.Tensor:
            return torch.zeros(*tokens.shape, 8)

    assert reading(Even(), np.array([[1, 2, 3]])).likelihood == pytest.approx([-np.log(8)])  # type: ignore[arg-type]


def test_a_judge_that_was_taught_what_is_right_tells_it():
    found = JudgedAnswers(steps=150, width=32, rate=0.01).measure(202)
    assert found["exact"] > 0.6 and found["shuffled"] < found["exact"] and found["any"] <= found["best"] + 0.1
