"""Facts told more or less often, and what scores are made of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from windtunnel.parts.experiment.known_answers import ANSWERS, CHOICES, TOLD, KnownAnswers, Words, head, miscalibrated, told


def test_facts_are_told_as_often_in_both_relations():
    facts = told(120, np.random.default_rng(190))
    for relation in (0, 1):
        assert np.bincount(facts.often[facts.relation == relation])[list(TOLD)].tolist() == [20] * len(TOLD)
    rows = Words(120).rows(facts)
    assert rows[:, 0].max() == 119 and set(rows[:, 1]) == {120, 121} and rows[:, 2].min() >= 122 and rows[:, 2].max() < 122 + ANSWERS


def test_a_head_learns_shares():
    states = torch.from_numpy(np.random.default_rng(191).standard_normal((400, 3)))
    shares = 1 / (1 + np.exp(-2 * states[:, 0].numpy()))
    assert np.corrcoef(head(states, shares)(states), states[:, 0])[0, 1] > 0.99


def test_calibration_is_of_the_choice():
    answers = np.zeros(600, int)
    sure = np.full((600, ANSWERS), 1e-12)
    sure[:, 0] = 1
    assert miscalibrated(sure, answers, np.random.default_rng(192)) == pytest.approx(0, abs=1e-6)
    even = np.full((600, ANSWERS), 1 / ANSWERS)
    even[:, 0] -= 1e-9  # so one of the others is chosen, and never right
    assert miscalibrated(even, answers, np.random.default_rng(193)) == pytest.approx(1 / CHOICES, abs=1e-6)


def test_what_is_told_often_is_known_and_the_model_can_tell():
    found = KnownAnswers(subjects=96, passes=6, tuning=5, width=32, rate=0.01).measure(194)
    assert found["right"] > 0.3 and found["surest"] > 0.7 and found["likely"] > 0.7
