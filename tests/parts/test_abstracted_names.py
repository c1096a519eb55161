"""Assertions about functions: right results, names that come back, and what the model may see."""

from __future__ import annotations

import numpy as np

from windtunnel.parts.experiment.abstracted_names import BLANK, DEFINE, DIGITS, GIVEN, NAMES, PLUS, TEST, AbstractedNames, assertions


def test_assertions_say_what_the_function_gives():
    rows = assertions(60, np.arange(5, 20), np.random.default_rng(185))
    for row in rows.tolist():
        assert row[0] == DEFINE and row[5] == TEST and row[1] == row[6] == row[GIVEN]
        one, two = row[7], row[8]
        wanted = ((one + two) % 10, one * two % 10, max(one, two))[row[4] - PLUS]
        assert row[GIVEN + 1 :] == [one, two, wanted] and all(DIGITS + 5 <= name < DIGITS + 20 for name in row[1:4])


def test_what_the_model_sees():
    rows = assertions(20, np.arange(NAMES), np.random.default_rng(186))
    plain, none = AbstractedNames(abstract=False)._as_seen(rows)
    assert (plain == rows).all() and none is None
    seen, back = AbstractedNames()._as_seen(rows)
    assert (seen[:, 1:4] == DIGITS + np.arange(3)).all() and back is not None and back[0] == rows[0, 1:4].tolist()
    alone, _ = AbstractedNames(function=False)._as_seen(rows)
    assert (alone[:, :5] == BLANK).all() and (alone[:, 5] == TEST).all()


def test_what_is_measured_are_shares():
    found = AbstractedNames(steps=4, judged=20).measure(187)
    assert set(found) == {"new", "seen", "result"} and all(0 <= value <= 1 for value in found.values())
