"""Answers of trees, what is held out, and that networks are alike in size."""

from __future__ import annotations

import numpy as np
import pytest

from windtunnel.parts.experiment.task_trees import (
    COLOURS,
    EXIST,
    GET,
    HELD,
    IF,
    LETTERS,
    NO,
    YES,
    TaskTrees,
    answered,
    hash_of,
    network,
    questions,
)


def letter(one: int) -> int:
    return 4 + COLOURS + one


def test_a_tree_is_answered():
    grid = {0: 2, 3: 1}
    red, blue = [EXIST, 4 + 2, letter(0)], [EXIST, 4 + 1, letter(0)]
    assert answered(red, grid) == (YES, []) and answered(blue, grid) == (NO, []) and answered([EXIST, 4, letter(1)], grid)[0] == NO
    assert answered([IF, *red, GET, letter(3), GET, letter(0)], grid) == (1, [])
    assert answered([IF, *blue, IF, *red, GET, letter(3), GET, letter(0), GET, letter(0)], grid) == (2, [])


def test_held_out_trees_are_not_trained_on():
    random = np.random.default_rng(330)
    known = [told for told in questions(400, random, 3).told if told[0] == IF]
    held = questions(200, random, 3, "held").told
    assert {tuple(told) for told in held}.isdisjoint(map(tuple, known)) and all(hash_of(told) % HELD == 0 for told in held)
    assert 90 < len(known) < 180 and {len(told) for told in questions(50, random, 3, "nested").told} == {14}


def test_answers_cannot_be_guessed_from_the_kind():
    some = questions(900, np.random.default_rng(331), LETTERS, least=LETTERS)
    asked = np.array([told[0] for told in some.told])
    answers = some.answers.numpy()
    assert abs((answers[asked == EXIST] == YES).mean() - 0.5) < 0.1
    assert np.bincount(answers[asked == IF], minlength=COLOURS).max() < 0.35 * (asked == IF).sum()
    conditions = [answered(told[1:4], grid_of(some, row))[0] for row, told in enumerate(some.told) if told[0] == IF]
    assert abs(np.mean(np.array(conditions) == YES) - 0.5) < 0.1


def grid_of(some, row: int) -> dict[int, int]:
    cells = some.read[row, :9].numpy()
    return {int(cell[1 + COLOURS : 1 + COLOURS + LETTERS].argmax()): int(cell[1 : 1 + COLOURS].argmax()) for cell in cells if not cell[0]}


@pytest.mark.parametrize("kind", ["recurrent", "shallow", "cross"])
def test_networks_are_as_large(kind):
    sizes = [sum(weight.numel() for weight in network(one, 48, 0).parameters()) for one in ("deep", kind)]
    assert abs(sizes[1] / sizes[0] - 1) < 0.2


def test_questions_are_learned():
    assert TaskTrees(steps=40, size=16, judged=200, network="cross", rate=0.01).measure(0)["same"] > 0.25
