"""Adapters side by side."""

from __future__ import annotations

import pytest
import torch

from windtunnel.kits.image.tiny import begun
from windtunnel.parts.experiment.parallel_adapters import ADAPTED, ParallelAdapters


def test_what_is_punished_is_what_it_says():
    first = begun((64, 8, 8, 10), 0)
    generator = torch.Generator().manual_seed(0)
    wanted = dict.fromkeys(("size", "preserve", "diversify"), 0.0)
    part = ParallelAdapters(keeps="both", adapters=2, rank=2)
    free = {name: torch.randn(weight.shape, generator=generator) for name, weight in part._free(first, 0).items()}
    for name in ADAPTED:
        one, other = (free[f"{name}.up"][which] @ free[f"{name}.down"][which] for which in (0, 1))
        wanted["size"] += float((one.abs().mean() + other.abs().mean()) / 2)
        wanted["preserve"] += float(((first[name] @ one.T).abs().mean() + (first[name] @ other.T).abs().mean()) / 2)
        wanted["diversify"] += float((one @ other.T).abs().mean())
    for keeps, each in wanted.items():
        assert float(ParallelAdapters(keeps=keeps, adapters=2, rank=2).punished(first, free)) == pytest.approx(each, rel=1e-4)
    assert float(part.punished(first, free)) == pytest.approx(wanted["preserve"] + wanted["diversify"], rel=1e-4)
    assert float(ParallelAdapters().punished(first, free)) == 0


def test_adapters_begin_as_nothing_and_learn():
    first = begun((64, 8, 8, 10), 0)
    part = ParallelAdapters()
    held = part._free(first, 0) | {name: first[name] for name in ("2.weight", "2.bias")}
    assert all(torch.equal(weight, first[name]) for name, weight in part.made(first, held).items())
    found = ParallelAdapters(steps=40, training=80).measure(80)
    assert found["seen"] > found["unseen"] and found["weight"] == 0
