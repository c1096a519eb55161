"""Tasks and what they do to strings, and what is read of them."""

from __future__ import annotations

import numpy as np
import pytest

from windtunnel.core.errors import PartError
from windtunnel.parts.experiment.described_tasks import BLANK, CHANGE, HELD, MOVE, MOVES, NUMBER, SYMBOLS, DescribedTasks, done


def test_tasks_do_what_they_say():
    string = np.array([[0, 1, 2, 3, 9]])
    assert done(string, np.array([[1, 0]]), "verbs").tolist() == [[9, 3, 2, 1, 0]]
    assert done(string, np.array([[2, 1]]), "verbs").tolist() == [[2, 3, 4, 0, 1]]
    assert done(np.array([[3, 1, 3, 0, 2]]), np.array([[3, 7]]), "rules").tolist() == [[7, 1, 7, 0, 2]]
    assert len({move for move in MOVES}) == len(MOVES) and all(sorted(move) == list(range(5)) for move in MOVES)


def test_held_out_tasks_are_in_no_training_and_narrow_ones_of_half_the_alphabet():
    seen, held = DescribedTasks()._tasks(np.random.default_rng(170))
    assert len(held) == HELD and not {tuple(task) for task in seen} & {tuple(task) for task in held}
    seen, held = DescribedTasks(kind="rules", narrow=True, tasks=8)._tasks(np.random.default_rng(171))
    assert (seen < SYMBOLS // 2).all() and len(held) == 30 and not {tuple(task) for task in seen} & {tuple(task) for task in held}
    assert len(DescribedTasks(specialist=9, breadth=2)._tasks(np.random.default_rng(172))[1]) == 2
    with pytest.raises(PartError, match="tasks 20: 19 are not held out"):
        DescribedTasks(tasks=20)._tasks(np.random.default_rng(0))


def test_what_is_told_of_a_task():
    tasks = np.array([(0, 1), (1, 0), (9, 8)])
    rows = DescribedTasks(kind="rules", told="number")._rows(tasks, np.random.default_rng(173))
    assert rows.given[:, 0].tolist() == [NUMBER, NUMBER + 9, BLANK - 1] and (rows.given[:, 1] == BLANK).all()
    rows = DescribedTasks(told="definition", example=True)._rows(np.array([(4, 3)]), np.random.default_rng(174))
    assert rows.given[0, :2].tolist() == [MOVE + 4, CHANGE + 3]
    assert (done(rows.given[:, 2:7], np.array([(4, 3)]), "verbs") == rows.given[:, 7:12]).all()


def test_rules_are_learned_and_without_a_description_they_cannot_be_told_apart():
    told, untold = (
        DescribedTasks(kind="rules", tasks=4, told=told, steps=130, rate=8e-3, judged=200).measure(175) for told in ("number", "nothing")
    )
    assert told["seen"] > 0.5 > untold["seen"]
