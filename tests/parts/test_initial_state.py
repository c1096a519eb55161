"""The state that a recurrent model begins with."""

from __future__ import annotations

import numpy as np
import pytest

from windtunnel.parts.experiment.initial_state import InitialState, states, written


def test_slopes_are_those_of_the_loss():
    random = np.random.default_rng(0)
    part = InitialState(letters=4, width=3)
    texts, decay = random.integers(4, size=(2, 6)), np.array([0.5, 0.8, 0.9])
    inner = states(texts, random.standard_normal((4, 3)), decay)
    layer, start = random.standard_normal((4, 4)), random.standard_normal(3)
    slope, of_start = part._slopes(layer, start, decay, inner, texts)

    def loss(layer: np.ndarray, start: np.ndarray) -> float:
        return float(part._bits(layer, start, decay, inner, texts).mean() * np.log(2))

    for place in range(3):
        step = 1e-5 * np.eye(3)[place]
        assert of_start[place] == pytest.approx((loss(layer, start + step) - loss(layer, start - step)) / 2e-5, rel=1e-4, abs=1e-8)
    step = np.zeros((4, 4))
    step[1, 2] = 1e-5
    assert slope[1, 2] == pytest.approx((loss(layer + step, start) - loss(layer - step, start)) / 2e-5, rel=1e-4, abs=1e-8)


def test_a_first_state_decays_and_texts_follow_their_chain():
    random = np.random.default_rng(0)
    chain = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
    texts = written(chain, 5, 7, random)
    assert ((texts[:, 1:] - texts[:, :-1]) % 3 == 1).all()
    decay = np.array([0.5, 0.9])
    left = InitialState(letters=3, width=2)._logits(np.zeros((3, 3)), np.ones(2), decay, np.zeros((1, 4, 2)))[1][0, :, :2]
    assert left == pytest.approx(np.stack([decay**place for place in (1, 2, 3, 4)]))


def test_tuning_the_layer_helps():
    knobs = {"letters": 6, "width": 12, "rates": (0.3,), "steps": 40}
    nothing, layer = (InitialState(tunes=tunes, **knobs).measure(80)["bits"] for tunes in ("nothing", "layer"))
    assert layer < nothing
