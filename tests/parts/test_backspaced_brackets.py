"""What a decoder sees behind backspaces, the loss by its formula, and draws."""

from __future__ import annotations

import numpy as np
import torch

from windtunnel.kits.small_decoder import SmallDecoder
from windtunnel.parts.experiment.backspaced_brackets import (
    BACK,
    COUNT,
    END,
    START,
    balanced,
    cloned,
    logits_of,
    matched,
    sampled,
    shown,
    strings,
    visited,
    with_errors,
)


def model() -> SmallDecoder:
    return SmallDecoder(COUNT, COUNT, 18, width=8, tokens=True, seed=2)


def test_strings_match_and_errors_are_taken_back():
    rows = strings(40, 12, 270)
    assert rows.shape == (40, 13) and all(balanced(row[:-1]) for row in rows.tolist()) and (rows[:, -1] == END).all()
    noisy = with_errors(rows, 0.3, np.random.default_rng(271))
    assert (noisy < -1).sum() > 60
    for row, actions in zip(rows, noisy, strict=True):
        assert shown(np.where(actions < -1, -2 - actions, actions)) == row[:-1].tolist()
        wrong = np.flatnonzero(actions < -1)
        assert (actions[wrong + 1] == BACK).all() and (-2 - actions[wrong] != actions[wrong + 2]).all()
    assert not balanced([0, 3]) and not balanced([0]) and not balanced([2])


def test_behind_backspaces_a_model_sees_what_was_kept():
    actions = np.array([[0, 1, BACK, 2, BACK, BACK, 1, 3, -1]])
    found = visited(actions)
    assert found.tokens[0].tolist() == [START, 0, 1, 0, 2, 0, START, 1, 3, 3] and found.depth[0].tolist() == [0, 1, 2, 1, 2, 1, 0, 1, 2, 2]
    network = model()
    logits = logits_of(network, actions)[0]
    for place, kept in enumerate(([], [0], [0, 1], [0], [0, 2], [0], [], [1], [1, 3], [1, 3])):
        assert torch.allclose(logits[place], network(torch.tensor([[START, *kept]]))[0, -1], atol=1e-5)


def test_errors_are_not_learned():
    network, actions = model(), np.array([[0, -3, BACK, 2, END]])  # -3: a wrong 1
    logits = logits_of(network, actions)[0].log_softmax(dim=1)
    expected = -(logits[0, 0] + logits[2, BACK] + logits[3, 2] + logits[4, END]) / 4
    assert torch.isclose(cloned(network, actions), expected, atol=1e-6)


def test_matching_is_its_formula():
    network, data, own = model(), np.array([[0, 2, END]]), np.array([[1, BACK, END, -1]])
    gamma, alpha = 0.9, 1.5

    def of(actions: np.ndarray) -> tuple[list[float], list[float], list[float]]:
        logits = logits_of(network, actions)[0].tolist()
        value = [float(np.logaddexp.reduce(row)) for row in logits]
        real = [int(action) for action in actions[0] if action >= 0]
        fall = [value[place] - gamma * value[place + 1] for place in range(len(real))]
        reward = [logits[place][action] - gamma * value[place + 1] for place, action in enumerate(real)]
        stays = (1 - gamma) * value[len(real)]
        for _ in range(400):  # what stays behind the end, step by step
            fall.append(stays)
            reward.append(stays)
        weights = gamma ** np.arange(len(fall))
        return fall, reward, (weights / weights.sum()).tolist()

    fall, reward, weights = of(data)
    own_fall, _, own_weights = of(own)
    expected = -sum(weight * (each - each**2 / (4 * alpha)) for weight, each in zip(weights, reward, strict=True))
    expected += 0.5 * float(np.dot(weights, fall)) + 0.5 * float(np.dot(own_weights, own_fall))
    assert abs(float(matched(network, data, own, gamma, alpha)) - expected) < 1e-4


def test_draws_end_and_take_back_only_what_is_there():
    random = np.random.default_rng(272)
    for backspaces in (True, False):
        rows = sampled(model(), 40, 8, 16, backspaces, random)
        assert ((rows == BACK).any() == backspaces) and (rows != START).all()
        for row in rows:
            ends = np.flatnonzero(row == END)
            assert not len(ends) or (row[ends[0] + 1 :] == -1).all()
            kept = np.cumsum(np.where(row == BACK, -1, row >= 0))
            assert (kept >= 0).all()
