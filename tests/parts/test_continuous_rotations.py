"""The path of frequencies against its closed form, spread positions, and texts to copy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from windtunnel.kits.text.small import made
from windtunnel.parts.experiment.continuous_rotations import COPIED, SYMBOLS, drawn, ntk, places, rotated, scaled, turned


def test_a_path_of_nothing_is_that_of_the_base():
    flow = scaled("flow", 16, 4)
    with torch.no_grad():
        assert torch.equal(flow(1.0), scaled("plain", 16, 4)(3.0))
        for times in (2.0, 4.0):
            assert torch.allclose(flow(times), ntk(times, 16).exp(), rtol=0.02)
        assert torch.allclose(scaled("ntk", 16, 4)(1.0), ntk(4.0, 16).exp())
        assert torch.allclose(scaled("interpolated", 16, 4)(1.0) * 4, scaled("plain", 16, 4)(1.0))
        torch.nn.init.constant_(flow.down.weight, 0.1)  # type: ignore[union-attr,arg-type]
        assert not torch.allclose(flow(4.0), ntk(4.0, 16).exp(), rtol=0.1) and torch.equal(flow(1.0), scaled("plain", 16, 4)(1.0))


def test_the_solver_against_many_small_steps():
    flow = scaled("flow", 8, 4)
    with torch.no_grad():
        torch.nn.init.normal_(flow.down.weight, std=0.02)  # type: ignore[union-attr,arg-type]
        logs = ntk(1.0, 8)
        for step in range(1000):
            logs = logs + 2 / 1000 * flow.slope(1 + 2 * (step + 0.5) / 1000, logs)  # type: ignore[operator]
        assert torch.allclose(flow(3.0), logs.exp(), rtol=0.01)


def test_positions_keep_their_ends():
    found = places(10, 40, np.random.default_rng(350))
    assert found[0] == 0 and found[-1] == 39 and len(set(found)) == 10 and (np.diff(found) > 0).all()
    assert places(10, 10, np.random.default_rng(351)).tolist() == list(range(10))


def test_what_stands_twice():
    rows = drawn(40, 50, np.random.default_rng(352)).numpy()
    for row in rows:
        copied = row[-COPIED:].tolist()
        found = [place for place in range(40 - COPIED) if row[place : place + COPIED].tolist() == copied]
        assert len(found) == 1 and sum(symbol in copied for symbol in row.tolist()) == 2 * COPIED


def test_only_distances_count():
    model = made(353, SYMBOLS, 1, width=32)
    read, tokens = rotated(model, scaled("plain", 8, 4)), torch.randint(SYMBOLS, (2, 9))
    with torch.no_grad():
        one, other = (read(tokens, torch.arange(9).float() + more, 1.0) for more in (0, 7))
        assert torch.allclose(one, other, atol=1e-4) and not torch.allclose(one, read(tokens, torch.arange(9) * 2.0, 1.0), atol=1e-3)
    vectors = torch.randn(3, 5, 8)
    assert torch.allclose(turned(vectors, torch.rand(5, 4)).norm(dim=-1), vectors.norm(dim=-1), atol=1e-5)
    assert turned(torch.tensor([[1.0, 0.0]]), torch.tensor([[np.pi / 2]]))[0].tolist() == pytest.approx([0, 1], abs=1e-6)
