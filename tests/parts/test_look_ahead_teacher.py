"""A teacher asked after steps that are taken back."""

from __future__ import annotations

from windtunnel.parts.experiment.look_ahead_teacher import LookAheadTeacher


def test_steps_that_are_taken_back_change_the_teacher_and_not_the_count_of_steps():
    knobs = {"before": 60, "steps": 10, "degrees": 30.0}
    plain, ahead, restored = (LookAheadTeacher(**knobs, **more).measure(80) for more in ({}, {"ahead": 2}, {"ahead": 2, "restore": True}))
    assert len({plain["accuracy"], ahead["accuracy"], restored["accuracy"]}) > 1
    still = {"teacher": "none", "before": 60, "steps": 5, "rate": 1e-12}
    assert LookAheadTeacher(**still).measure(80) == LookAheadTeacher(**still, ahead=2).measure(80), "nothing moves where the rate is none"


def test_what_the_teacher_says_is_learned():
    knobs = {"before": 60, "steps": 30, "degrees": 0.0}
    alone, guessed = (LookAheadTeacher(teacher=teacher, **knobs).measure(80) for teacher in ("none", "average"))
    assert alone != guessed and guessed["accuracy"] > 0.6
