"""Stages one after the other: preferences move the margin by the right loss, and a stage that is left out is missed."""

from __future__ import annotations

import numpy as np
import torch

from windtunnel.kits.text.windowed import made
from windtunnel.parts.experiment.staged_tuning import DIGITS, WORDS, StagedTuning, prefer


def test_preferences_put_one_answer_before_the_other():
    model = made(7, WORDS + 2 * DIGITS)
    worse = np.array([[WORDS + 1, WORDS + 2, WORDS + 3]])
    better = worse + np.array([0, 0, DIGITS])

    def margin() -> float:
        with torch.no_grad():
            logits = model(torch.from_numpy(worse[:, :2]))[0]
        return float(logits[better[0, 2]] - logits[worse[0, 2]])

    before = margin()
    prefer(model, better, worse, np.zeros((4, 3), int), np.random.default_rng(195), StagedTuning(preferences=30, replay=0.0))
    assert margin() > before + 1


def test_a_stage_that_is_left_out_is_missed():
    knobs = {"general": 60, "domain": 400, "tuning": 60, "preferences": 10}
    whole, without, informal = (
        StagedTuning(**{**knobs, **one}).measure(196) for one in ({}, {"domain": 0}, {"tuning": 0, "preferences": 0})
    )
    assert informal["right"] > without["right"] + 0.1
    assert informal["formal"] < whole["formal"] and informal["margin"] < whole["margin"]
