"""A short tuning and a long training in one matrix."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from windtunnel.kits.weights.deltas import by_shift_ranks, elected
from windtunnel.parts.experiment.two_abilities import TwoAbilities


def test_ranks_of_shifts_weigh_columns_as_computed_one_by_one():
    generator = torch.Generator().manual_seed(0)
    base, one, two = torch.randn(3, 5, 4, generator=generator)
    found = by_shift_ranks(base, [one, two])
    wanted = torch.zeros_like(base)
    for by in ("length", "direction"):
        ranks = []
        for delta in (one, two):
            moved = []
            for column in range(4):
                old, new = base[:, column], (base + delta)[:, column]
                moved.append(float((new.norm() - old.norm()).abs()) if by == "length" else 1 - float(new @ old / new.norm() / old.norm()))
            ranks.append(np.argsort(np.argsort(moved)) / 4)
        for column in range(4):
            powers = [np.exp(rank[column]) for rank in ranks]
            for rank, delta, power in zip(ranks, (one, two), powers, strict=True):
                weight = 1.0 if rank[column] > rank.mean() else power / sum(powers)
                wanted[:, column] += weight * delta[:, column] / 2
    assert torch.allclose(found, wanted, atol=1e-5)
    vector = by_shift_ranks(torch.zeros(3), [torch.tensor([0.0, 1.0, 4.0]), torch.tensor([3.0, 0.0, 0.0])])
    assert vector[2] == pytest.approx(4.0) and vector[0] == pytest.approx(3.0)


def test_signs_are_elected():
    found = elected([torch.tensor([1.0, -3.0, 0.1, 2.0]), torch.tensor([2.0, 1.0, -0.2, 0.0])], 0.75)
    assert found.tolist() == pytest.approx([1.5, -3.0, -0.2, 2.0])


def test_what_shares_nothing_adds_up():
    found = {way: TwoAbilities(way=way).measure(80) for way in ("sum", "average", "alone", "random", "grid")}
    assert found["sum"]["worse"] < 0.05 < 0.2 < found["average"]["worse"] and abs(found["sum"]["cosine"]) < 0.05
    assert found["alone"]["tuned"] == pytest.approx(1, abs=1e-6) and found["random"]["worse"] > 0.5
    assert found["grid"]["worse"] < 0.05 and TwoAbilities(shared=12).measure(80)["worse"] > 1


def test_tasks_that_do_not_fit_are_refused():
    with pytest.raises(ValidationError, match="cannot share 25"):
        TwoAbilities(shared=25)
    with pytest.raises(ValidationError, match="do not fit into 48"):
        TwoAbilities(inside=30, shared=2)
