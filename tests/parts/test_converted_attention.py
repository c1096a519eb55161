"""Recurrences computed at once and place by place, and a converted model."""

from __future__ import annotations

import numpy as np
import torch

from windtunnel.kits.text.linear_attention import gated, softmaxed
from windtunnel.kits.text.small import made
from windtunnel.kits.text.windowed import chances, language
from windtunnel.parts.experiment.converted_attention import AGAIN, BEGIN, COPIED, LENGTH, WORDS, Converted, texts, told


def drawn(*shape: int) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(290)
    return tuple(torch.randn(2, 3, 9, 4, generator=generator) for _ in range(4))


def test_a_gated_recurrence_place_by_place():
    query, key, value, kept = drawn()
    kept = -kept.abs()
    state, found = torch.zeros(2, 3, 4, 4), []
    for place in range(9):
        state = kept[:, :, place, :, None].exp() * state + key[:, :, place, :, None] * value[:, :, place, None]
        found.append((query[:, :, place, None] @ state)[:, :, 0])
    assert torch.allclose(gated(query, key, value, kept), torch.stack(found, dim=2), atol=1e-4)


def test_a_window_as_long_as_the_text_is_attention():
    model = made(291, WORDS + 2, LENGTH, width=16)
    rows = texts(chances(language(WORDS, np.random.default_rng(292))), 4, np.random.default_rng(293))
    assert (rows[:, :COPIED] == rows[:, -COPIED:]).all() and (rows[:, COPIED] == BEGIN).all() and (rows[:, -COPIED - 1] == AGAIN).all()
    with torch.no_grad():
        assert torch.allclose(Converted(model, "window", LENGTH)(rows), model(rows), atol=1e-5)
        assert not torch.allclose(Converted(model, "window", 3)(rows), model(rows), atol=1e-3)


def test_a_half_is_recurrence_and_a_half_window():
    query, key, value, _ = drawn()
    model = Converted(made(294, 4, 4), "both", 3)
    recurrent = Converted(model.model, "linear", 3).mixed(query, key, value)
    assert torch.allclose(2 * model.mixed(query, key, value) - recurrent, softmaxed(query, key, value, 3), atol=1e-5)


def test_plain_linear_attention_is_a_mean():
    query, key, _, _ = drawn()
    ones = torch.ones_like(query)
    assert torch.allclose(Converted(made(295, 4, 4), "plain", 1).mixed(query, key, ones), ones, atol=1e-4)
    rows = texts(chances(language(WORDS, np.random.default_rng(296))), 6, np.random.default_rng(297))
    assert 0 <= told(made(298, WORDS + 2, LENGTH, width=8), rows)[0] <= 1
