"""Who sees whom, what the two networks are told, and what a step costs."""

from __future__ import annotations

import numpy as np
import torch

from windtunnel.kits.small_decoder import SmallDecoder
from windtunnel.parts.experiment.replaced_words import flops, loss_of, states


def small(outputs: int, width: int) -> SmallDecoder:
    return SmallDecoder(60, outputs, 12, width=width, layers=1, tokens=True, seed=5)


def test_a_place_sees_its_window_and_the_first():
    model, rows = small(1, 8), torch.arange(10, 22).reshape(1, 12)
    for changed, moved in ((6, [0, 4, 5, 6, 7, 8]), (0, list(range(12)))):
        other = rows.clone()
        other[0, changed] = 9
        apart = (states(model, rows, 2) - states(model, other, 2)).abs().sum(dim=2)[0] > 1e-6
        assert apart.nonzero()[:, 0].tolist() == moved
    assert torch.allclose(states(model, rows, 0), model.states(rows, True), atol=1e-6)


def test_the_encoder_is_told_what_was_replaced_and_the_generator_learns_from_words_alone():
    rows = np.random.default_rng(300).integers(6, 60, (8, 12))
    encoder, generator = small(1, 8), small(60, 8)
    loss = loss_of([encoder, generator], rows, 0, np.random.default_rng(301))
    loss.backward()
    alone = small(60, 8)
    filled = loss_of([alone], rows, 0, np.random.default_rng(301))
    filled.backward()
    assert all(torch.allclose(one.grad, other.grad) for one, other in zip(generator.parameters(), alone.parameters(), strict=True))
    random = np.random.default_rng(301)
    gone = torch.from_numpy(random.random(rows.shape) < 0.25)
    gone[:, 0] = False
    tokens = torch.from_numpy(rows)
    logits = generator(tokens.masked_fill(gone, 1), True)[gone]
    given = tokens.clone()
    given[gone] = (logits + torch.from_numpy(random.gumbel(size=tuple(logits.shape))).float()).argmax(dim=1)
    odds = encoder(given, True)[:, 1:, 0].sigmoid()
    told = -torch.where((given == tokens)[:, 1:], (1 - odds).log(), odds.log()).mean()
    assert torch.isclose(loss, filled + 50 * told, rtol=1e-4) and (given != tokens).any()


def test_a_step_with_a_generator_costs_more():
    rows = np.random.default_rng(302).integers(6, 60, (4, 12))
    encoder, generator = small(1, 8), small(60, 8)
    assert flops([encoder, generator], rows, 0) > flops([small(60, 8)], rows, 0) > 0
