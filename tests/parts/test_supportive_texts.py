"""Texts that support learning in context: maps that can be looked up, and cosines of gradients against plain ones."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from windtunnel.kits.text.small import losses, made
from windtunnel.parts.experiment.supportive_texts import KEYS, LENGTH, PAIRS, VOCABULARY, WORDS, SupportiveTexts, broken, likeness, maps


def test_what_a_map_asks_for_was_told_before():
    rows = maps(50, np.random.default_rng(172))
    assert rows.shape == (50, LENGTH) and rows.max() < VOCABULARY
    for row in (rows - WORDS).tolist():
        known = dict(divmod(token, KEYS) for token in row[:PAIRS])
        asked = [(row[place] - KEYS**2, row[place + 1] - KEYS**2 - KEYS) for place in range(PAIRS, LENGTH, 2)]
        assert len(known) == PAIRS and len(dict(asked)) == 3 and all(known[key] == value for key, value in asked)


def test_the_cosine_is_that_of_plain_gradients():
    model = made(4, VOCABULARY, LENGTH, width=16, heads=2)
    random = np.random.default_rng(173)
    pool, prompts = maps(3, random), maps(2, random)
    names = [name for name, _ in model.named_parameters() if name.startswith(("blocks.1", "norm", "head"))]

    def gradient(rows: np.ndarray, last: bool) -> torch.Tensor:
        model.zero_grad()
        each = losses(model, torch.from_numpy(rows))
        (each[:, -1].mean() if last else each.mean()).backward()
        return torch.cat([dict(model.named_parameters())[name].grad.flatten() for name in names])

    goal = gradient(prompts, True)
    wanted = [float(torch.cosine_similarity(gradient(row[None], False), goal, dim=0)) for row in pool]
    assert likeness(model, pool, prompts) == pytest.approx(wanted, abs=1e-4)


def test_controls_choose_what_they_say():
    found = SupportiveTexts(how="maps", pool=100, learning=3, steps=2, maps=0.2, chosen=0.1).measure(174)
    assert found["precision"] == 1
    assert SupportiveTexts(how="none", pool=60, learning=2).measure(175)["precision"] == 0


def test_texts_that_look_like_maps_do_not_tell_what_they_ask_for():
    random = np.random.default_rng(176)
    rows = broken(400, random)
    right = np.mean([(row[-2] - KEYS**2) * KEYS + row[-1] - KEYS**2 - KEYS in set(row[:PAIRS]) for row in (rows - WORDS).tolist()])
    assert set(np.unique(rows)) == set(np.unique(maps(400, random))) and right == pytest.approx(1 / KEYS, abs=0.08)


def test_tokens_alone_do_not_tell_which_texts_support():
    found = SupportiveTexts(how="tokens", pool=400, learning=2, steps=2, maps=0.2, broken=0.2, chosen=0.2).measure(177)
    assert found["precision"] == pytest.approx(0.5, abs=0.15)
