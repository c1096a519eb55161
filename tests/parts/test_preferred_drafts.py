"""A teacher tuned to preferences: the loss against its gradient by hand, styles that are as said, and a student that learns."""

from __future__ import annotations

import numpy as np
import pytest

from windtunnel.parts.experiment.preferred_drafts import STYLES, WIDTH, PreferredDrafts, draft, learn, preferred, read


def test_a_step_of_preference_is_the_gradient_of_its_loss():
    pairs = np.array([[0, 3], [1, 3], [0, 2]])

    def loss(logits: np.ndarray) -> float:
        odds = logits - np.log(np.exp(logits).sum())
        margins = 0.5 * ((odds - odds.mean())[pairs[:, 0]] - (odds - odds.mean())[pairs[:, 1]])
        return float(-np.log(1 / (1 + np.exp(-margins))).mean())

    step = preferred(pairs, 0.5, 1)
    zero = np.zeros(len(STYLES))
    for place in range(len(STYLES)):
        nudge = 1e-5 * np.eye(len(STYLES))[place]
        assert step[place] == pytest.approx(-(loss(zero + nudge) - loss(zero - nudge)) / 2e-5, abs=1e-6)
    assert preferred(pairs, 0.5, 200).argmax() == 0 and preferred(pairs, 0.5, 200).argmin() == 3


def test_styles_are_as_said():
    random, task = np.random.default_rng(150), np.ones(WIDTH)
    inputs, answers = draft(task, STYLES.index("spread"), random)
    assert inputs @ inputs.T == pytest.approx(4 * np.eye(4)) and answers == pytest.approx(inputs.sum(axis=1))
    assert len(draft(task, STYLES.index("short"), random)[0]) == 2
    alike, _ = draft(task, STYLES.index("alike"), random)
    assert np.linalg.norm(alike - alike[0], axis=1).max() < 1.5
    inputs, answers = draft(task, STYLES.index("noisy"), random)
    assert np.abs(answers - inputs.sum(axis=1)).max() > 0.1


def test_more_spread_drafts_teach_more():
    random = np.random.default_rng(151)
    task, eye = random.standard_normal(WIDTH), np.zeros(WIDTH)
    spread, alike = ([draft(task, STYLES.index(name), random) for _ in range(20)] for name in ("spread", "alike"))
    assert read(*spread[0], task, eye, random) < read(*alike[0], task, eye, random)
    assert learn(spread, task, eye, random) < 0.1 < learn(alike[:2], task, eye, random)
    assert PreferredDrafts(how="tuned").measure(152)["liked"] < PreferredDrafts(how="untuned").measure(152)["liked"]
