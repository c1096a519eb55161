"""Facts told anew: texts that say what is true, questions with their answers, and what is learned of them."""

from __future__ import annotations

import numpy as np
import pytest

from windtunnel.parts.experiment.told_anew import (
    ASK,
    ATTRIBUTES,
    BLANK,
    FRIEND,
    VALUES,
    WORDINGS,
    ToldAnew,
    counted,
    person,
    questions,
    value,
)


@pytest.fixture(scope="module")
def world() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(192)
    return random.integers(0, VALUES, (40, ATTRIBUTES)), (np.arange(40) + 3) % 40


@pytest.mark.parametrize("told", ["once", "reworded", "permuted", "both", "related"])
def test_texts_say_what_is_true(world, told):
    values, friends = world
    texts = ToldAnew(told=told)._texts(values, friends, np.random.default_rng(193))
    orders, wordings = set(), set()
    for number, row in enumerate(texts.tolist()):
        assert row[0] == person(number)
        if row[1] == FRIEND:
            assert told == "related" and row[2] == person(friends[number]) and row[5:] == [BLANK] * 3
            assert row[4] in [value(one, values[friends[number], one]) for one in range(ATTRIBUTES)]
            continue
        order = [(token - value(0, 0)) // VALUES for token in row[2:8:2]]
        orders.add(tuple(order))
        wordings |= set(row[1:7:2])
        assert sorted(order) == [0, 1, 2] and row[2:8:2] == [value(one, values[number, one]) for one in order]
    assert (len(orders) > 1) == (told in ("permuted", "both")) and (len(wordings) > 1) == (told in ("reworded", "both"))
    assert wordings <= set(range(4 + ATTRIBUTES, 4 + ATTRIBUTES + WORDINGS))


def test_questions_have_their_answers_and_only_these_are_learned(world):
    values, friends = world
    people = np.arange(40)
    for of, about in ((None, people), (friends, friends)):
        rows = questions(people, values, np.random.default_rng(194), friends=of)
        for number, row in enumerate(rows.tolist()):
            assert row[2] == person(number) and row[3] == value(row[1] - 4, values[about[number], row[1] - 4])
        assert (rows[:, 0] == ASK).all() == (of is None)
        assert counted(rows).tolist() == [[False] * 3 + [True] + [False] * 4] * 40
