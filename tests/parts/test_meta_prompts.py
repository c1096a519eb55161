"""Prompts that begin where others were."""

from __future__ import annotations

import numpy as np

from windtunnel.parts.experiment.meta_prompts import WIDTH, MetaPrompts, right, scores, slope


def test_the_slope_is_that_of_the_loss():
    random = np.random.default_rng(0)
    names, images, which = random.standard_normal((5, WIDTH)), random.standard_normal((7, WIDTH)), random.integers(0, 5, 7)
    images /= np.linalg.norm(images, axis=1, keepdims=True)
    prompt = 0.2 * random.standard_normal(2 * WIDTH)

    def loss(held: np.ndarray) -> float:
        logits = scores(held, names, images)
        return float((np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(7), which]).mean())

    steps = 1e-5 * np.eye(2 * WIDTH)
    wanted = [(loss(prompt + step) - loss(prompt - step)) / 2e-5 for step in steps]
    assert np.allclose(slope(prompt, names, (images, which)), wanted, atol=1e-6)


def test_a_prompt_of_nothing_is_the_plain_cosine():
    random = np.random.default_rng(0)
    names = random.standard_normal((5, WIDTH))
    assert right(np.zeros(2 * WIDTH), names, (names, np.arange(5))) == 1


def test_gates_move_only_where_they_are_learned_and_tuning_helps():
    prompt, gate = MetaPrompts(begins="nothing")._begun(np.ones((3, WIDTH)), [], np.random.default_rng(0))
    assert not prompt.any() and (gate == 1).all()
    found = MetaPrompts(begins="meta").measure(80)
    assert found["accuracy"] > found["untuned"] + 0.05
