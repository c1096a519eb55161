"""Problems, the programs that solve them, and what they come to."""

from __future__ import annotations

import numpy as np

from windtunnel.parts.experiment.worked_problems import (
    KNOWN,
    OPERATION,
    OPERATIONS,
    PHRASE,
    SIGN,
    WorkedProblems,
    digits,
    number,
    problems,
    programs,
    run,
)


def test_programs_come_to_what_they_say():
    numbers = np.hstack([digits(np.array([17])), digits(np.array([905]))])
    assert numbers.tolist() == [[0, 1, 7, 9, 0, 5]] and number(numbers[:, 3:]).tolist() == [905]
    found = [int(run(np.hstack([[[OPERATION + each]], numbers]))[0]) for each in range(OPERATIONS)]
    assert found == [922, (17 - 905) % 1000, 17 * 905 % 1000, 905]
    assert run(np.array([[OPERATION, 1, 1, SIGN, 0, 0, 0], [3, 0, 0, 0, 0, 0, 0]])).tolist() == [-1, -1]


def test_phrases_mean_operations():
    asked = problems(500, np.arange(OPERATIONS * KNOWN), 0, 200, np.random.default_rng(240))
    assert ((programs(asked)[:, 0] - OPERATION) == (asked[:, 0] - PHRASE) % OPERATIONS).all()
    assert number(asked[:, 1:4]).max() < 200 and (programs(asked)[:, 1:] == asked[:, 1:]).all()


def test_a_nearest_problem_has_the_same_phrase_and_its_own_numbers():
    random = np.random.default_rng(241)
    asked = problems(300, np.arange(OPERATIONS * KNOWN), 0, 200, random)
    rows = WorkedProblems(shown="nearest")._rows(asked, random)
    assert (rows[:, 0] == asked[:, 0]).all() and (rows[:, 7] == SIGN).all() and (rows[:, 15:22] == asked).all()
    assert (rows[:, 8:15] == programs(rows[:, :7])).all() and (rows[:, 1:7] != asked[:, 1:]).any()
    assert (WorkedProblems(shown="random")._rows(asked, random)[:, 0] == asked[:, 0]).mean() < 0.2
    rows = WorkedProblems(writes="result")._rows(asked, random)
    assert (number(rows[:, 8:]) == run(programs(asked))).all()


def test_numbers_are_copied_into_programs():
    found = WorkedProblems(steps=120, rate=0.01, examples=400, judged=60).measure(242)
    assert found["right"] > WorkedProblems(steps=120, rate=0.01, examples=400, judged=60, writes="result").measure(242)["right"]
