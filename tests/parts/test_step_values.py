"""Answers chosen by the value of their steps: right traces alone are kept, and choosers that do what they say."""

from __future__ import annotations

import numpy as np
import pytest

from windtunnel.kits.text.small import made
from windtunnel.parts.experiment.step_values import CANDIDATES, MODULUS, NUMBERS, STEPS, StepValues, problems


def test_steps_are_running_sums():
    rows = problems(30, np.random.default_rng(176))
    for row in rows.tolist():
        assert row[NUMBERS:] == [sum(row[: place + 2]) % MODULUS for place in range(STEPS)]


@pytest.mark.parametrize("learns", ["tree", "sampling"])
def test_traces_end_rightly_and_cost_no_more_than_the_budget(learns):
    model, random = made(5, MODULUS, NUMBERS + STEPS, width=16, heads=2), np.random.default_rng(177)
    part = StepValues(learns=learns, budget=240, completions=4)
    for problem in problems(3, random):
        rows, spent = part._traces(model, problem, random)
        assert 0 < spent <= 240 and (rows[:, :NUMBERS] == problem[:NUMBERS]).all() and (rows[:, -1] == problem[-1]).all()
        assert len(np.unique(rows, axis=0)) == len(rows)


def test_choosers_do_what_they_say():
    held = problems(2, np.random.default_rng(178))
    answers = np.repeat(held[:, None, NUMBERS:], CANDIDATES, axis=1)
    answers[0, :5, -1] = (held[0, -1] + 1) % MODULUS  # five of eight agree on a wrong answer
    answers[1, 0, -1] = (held[1, -1] + 1) % MODULUS
    found = {
        picks: StepValues(picks=picks)._picked(None, held, answers, np.random.default_rng(0)).tolist()
        for picks in ("first", "majority", "oracle")
    }
    assert found == {"first": [False, False], "majority": [False, True], "oracle": [True, True]}
