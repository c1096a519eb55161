"""A forgotten task: as many questions of either answer, answers that are right, and an untrained model that forgets nothing."""

from __future__ import annotations

import numpy as np
import pytest

from windtunnel.kits.text.small import made
from windtunnel.parts.experiment.forgotten_task import DIGITS, TASKS, YES, ForgottenTask, judge, questions


@pytest.mark.parametrize("task", TASKS)
def test_answers_are_right_and_balanced(task):
    rows = questions(task, 60, np.random.default_rng(94))
    truth = {
        "large-first": lambda digits: digits[0] > 4,
        "odd-last": lambda digits: digits[-1] in (1, 3, 5, 7, 9),
        "first-is-last": lambda digits: digits[0] == digits[-1],
        "has-seven": lambda digits: 7 in digits,
        "large-sum": lambda digits: sum(digits) > 22,
        "rising": lambda digits: digits[1] > digits[0],
    }[task]
    assert (rows[:, -1] == YES).sum() == 30
    assert all((row[-1] == YES) == truth(row[1 : 1 + DIGITS]) for row in rows.tolist())


def test_an_untrained_model_is_at_chance_and_unsure():
    right, sure = judge(made(3, YES + 2, DIGITS + 2, width=16), questions("rising", 100, np.random.default_rng(95)))
    assert 0.3 < right < 0.7 and sure < 0.8


def test_what_is_measured_of_a_task_that_was_learned_and_forgotten():
    knobs = {"steps": 80, "held_out": 100, "rate": 0.01, "task": "large-first"}
    found, hardly = (ForgottenTask(forgetting=steps, **knobs).measure(96) for steps in (40, 1))
    assert set(found) == {"forgotten", "others", "seen", "accuracy", "probe", "sure"} and found["sure"] == hardly["sure"]
    assert found["forgotten"] > hardly["forgotten"] + 0.1 and found["accuracy"] < hardly["accuracy"] and found["probe"] > 0.6
