"""Questions of steps, and how they are worked out."""

from __future__ import annotations

import numpy as np
import pytest

from windtunnel.parts.experiment.successive_questions import (
    BLANK,
    END,
    SLOTS,
    STEP,
    TOKENS,
    SuccessiveQuestions,
    after,
    last_value,
    question,
    spread,
    values,
    worked,
)

TIMES_THREE, PLUS_FIVE = STEP + TOKENS + 3, STEP + 5


def test_steps_are_sums_and_products():
    assert after(7, PLUS_FIVE) == 4 and after(7, TIMES_THREE) == 5
    asked = [7, TIMES_THREE, PLUS_FIVE]
    assert values(asked) == [7, 5, 2] and worked(asked) == [TIMES_THREE, 5, PLUS_FIVE, 2, END]


def test_questions_stand_anywhere():
    random = np.random.default_rng(250)
    found = {tuple(spread([1, 40, 41, 42], random)) for _ in range(100)}
    assert len(found) == 4 and all(len(row) == 1 + SLOTS and row.count(BLANK) == 3 for row in found)
    assert all(STEP <= step < STEP + 2 * TOKENS for step in question(4, random)[1:])


def test_a_tool_takes_steps_and_not_their_values():
    told = [TIMES_THREE, 2, PLUS_FIVE, 3, END, 9]
    assert last_value(told, 7, tool=False) == 3 and last_value(told, 7, tool=True) == 2
    assert last_value([END, 3], 7, tool=False) == 7


@pytest.mark.parametrize("way", ["direct", "one-pass", "successive"])
def test_every_way_answers_in_its_share(way):
    found = SuccessiveQuestions(way=way, steps=8, judged=20, examples=50).measure(251)
    assert all(0 <= share <= 1 for share in found.values()) and (way != "direct" or found["with_tool"] == 0)
