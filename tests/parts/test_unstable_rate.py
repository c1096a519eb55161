"""Gradients that are shrunk, norms, jumps, and matrices that are rounded."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from windtunnel.parts.experiment.unstable_rate import LENGTH, WIDTH, WORDS, UnstableRate, deep, jump, nats, rounded_to_four_bits


def test_shrinking_changes_gradients_of_embeddings_and_nothing_else():
    rows = torch.from_numpy(np.random.default_rng(230).integers(WORDS, size=(4, LENGTH + 1)))
    found = []
    for shrink in (1.0, 0.1):
        model = deep(UnstableRate(layers=2, shrink=shrink), 231)
        loss = nats(model, rows)
        loss.backward()
        found.append((float(loss), {name: weight.grad for name, weight in model.named_parameters()}))
    (first, whole), (second, less) = found
    assert first == pytest.approx(second, rel=1e-6)
    assert torch.allclose(less["embedding.weight"], 0.1 * whole["embedding.weight"], atol=1e-8)
    assert torch.allclose(less["places.weight"], whole["places.weight"], atol=1e-7)


def test_norms_stand_where_they_are_said_to():
    torch.manual_seed(0)
    state = 100 * torch.randn(1, LENGTH, WIDTH)
    post, pre = (deep(UnstableRate(layers=1, norm=norm), 232).blocks[0](state) for norm in ("post", "pre"))
    assert float(post.std()) == pytest.approx(1, abs=0.1) and pre.std() > 50
    block = deep(UnstableRate(layers=8, norm="deep"), 232).blocks[0]
    assert float(block.out.weight.std()) == pytest.approx((1 / WIDTH) ** 0.5 / 4, rel=0.15)
    inner = block.first(4 * state + block.attended(state))
    assert torch.allclose(block(state), block.second(4 * inner + block.down(torch.nn.functional.gelu(block.up(inner)))), atol=1e-5)


def test_sixteen_values_a_row_are_left():
    model = deep(UnstableRate(layers=1), 233)
    before = model.blocks[0].up.weight.clone()
    rounded_to_four_bits(model)
    after = model.blocks[0].up.weight
    assert max(len(row.unique()) for row in after) <= 15 and (after - before).abs().max() <= before.abs().max() / 14 + 1e-6
    assert torch.equal(model.embedding.weight, deep(UnstableRate(layers=1), 233).embedding.weight)


def test_a_jump_is_above_what_was_before_and_a_fall_is_none():
    calm = [3.0 - 0.01 * step for step in range(40)]
    assert jump(calm) < 0
    calm[30] -= 1
    calm[20] += 0.5
    assert jump(calm) == pytest.approx(2.8 + 0.5 - np.mean(calm[:20])) and jump([*calm, float("nan")]) == 10
