"""Programs in postfix order: results against Python's own, states on the way, and what a buffer keeps."""

from __future__ import annotations

import numpy as np
import pytest

from windtunnel.core.errors import PartError
from windtunnel.kits.text import small
from windtunnel.parts.experiment.sampled_programs import (
    GIVEN,
    LENGTH,
    MODULUS,
    PLUS,
    TIMES,
    SampledPrograms,
    X,
    programs,
    run,
    stack,
    table,
)


def test_programs_give_what_they_say():
    rows = programs()
    assert len(rows) == len(np.unique(rows, axis=0)) == 24
    inputs = np.array([2, 3, 5])
    for one, two, first, three, second in rows.tolist():
        a, b, c = (int(inputs[sign - X]) for sign in (one, two, three))
        middle = a + b if first == PLUS else a * b
        assert run((one, two, first, three, second), inputs) == (middle + c if second == PLUS else middle * c) % MODULUS


def test_what_is_no_program_has_no_result():
    inputs = np.array([2, 3, 5])
    assert run((PLUS, X, X, X, X), inputs) is None and run((X, X, X, X, X), inputs) is None and run((X, X, 3, PLUS, PLUS), inputs) is None
    assert stack((X, X + 1, TIMES), inputs) == (6,) and stack((X, X + 2), inputs) == (2, 5)


def test_a_buffer_keeps_right_programs_and_beginnings_that_lead_somewhere():
    given = np.array([2, 3, 5, 4])  # 2 * 3 + 5 = 4 modulo 7
    right, other = (X, X + 1, TIMES, X + 2, PLUS), (X + 1, X, TIMES, X + 2, PLUS)
    wrong = (X + 1, X, TIMES, X + 2, TIMES)  # its third state is that of the reference
    for how, wanted in (("full", {right, other}), ("partial", {right, other, wrong[:4]})):  # its stack before the last sign is known
        known = {right}
        part = SampledPrograms(how=how)
        part._kept(known, other, given)
        part._kept(known, wrong, given)
        assert known == wanted


def test_prefixes_are_learned_up_to_their_end():
    rows, counted = table(np.array([[1, 2, 3, 4]]), [{(X, X + 1, PLUS)}])
    assert rows.shape == counted.shape == (1, GIVEN + LENGTH)
    assert counted[0].tolist() == [False] * GIVEN + [True] * 3 + [False] * 2


def test_all_arms_train_in_as_many_parts(monkeypatch):
    parts = []

    def noted(model, rows, counted, random, *, steps, rate):
        parts.append((steps, len(rows)))
        return 0.0

    monkeypatch.setattr(small, "learn", noted)
    for how in ("reference", "partial"):
        SampledPrograms(how=how, problems=12, judged=5, rounds=2, steps=30).measure(150)
    assert [steps for steps, _ in parts] == [10] * 6 and {rows for _, rows in parts[:3]} == {12}
    with pytest.raises(PartError, match="344 problems"):
        SampledPrograms(problems=300, judged=44).measure(0)
