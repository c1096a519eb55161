"""Tuning in two stages: questions are right, tokens do not collide, and what is not repeated is forgotten."""

from __future__ import annotations

import numpy as np

from windtunnel.core.registry import make
from windtunnel.parts.experiment.dual_stage_tuning import FORM, FORMS, KEY, KEYS, MODULUS, NUMBER, SIZE, VALUE, VALUES, added, general
from windtunnel.slots import Experiment


def test_questions_have_their_answers():
    asked, right = added(np.array([5 * MODULUS + 11]))
    assert asked.tolist() == [[0, NUMBER + 5, NUMBER + 11]] and right.tolist() == [NUMBER + 16 % MODULUS]
    values = np.arange(FORMS * KEYS).reshape(FORMS, KEYS) % VALUES
    asked, right = general(np.arange(FORMS * KEYS), values)
    assert set(asked[:, 1]) == set(range(FORM, NUMBER)) and set(asked[:, 2]) == set(range(KEY, VALUE))
    assert (right - VALUE == values.ravel()).all() and right.max() < SIZE


def test_what_is_not_repeated_is_forgotten():
    def numbers(**knobs: object) -> dict[str, float]:
        return make(Experiment, {"dual-stage-tuning": {"first": 120, "second": 50, "width": 24, **knobs}}).measure(0)

    turn, dual = numbers(way="in-turn"), numbers(share=0.5)
    assert dual["special"] > turn["special"] + 0.2 and turn["general"] > 0.1
