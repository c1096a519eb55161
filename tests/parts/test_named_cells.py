"""Cells with names: what columns mean, what is filled, and what a new table is told by."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from windtunnel.parts.experiment.named_cells import (
    FRESH,
    NAMES,
    MadeColumns,
    NamedCells,
    filling,
    is_sign,
    made,
    pretrain,
    told_cells,
    tuned,
)


def test_a_column_means_the_same_in_all_tables():
    random = np.random.default_rng(0)
    world, columns = MadeColumns(random), np.array([3, NAMES - 2, 5, NAMES, NAMES + 1])
    assert is_sign(columns).tolist() == [False, True, False, False, True]
    names, cells, labels = world.table(columns, 4000, random)
    assert (names == columns).all() and cells.mean() == pytest.approx(0, abs=0.1) and 0.4 < labels.mean() < 0.6
    assert set(np.unique(cells[:, is_sign(columns)])) == {-1.0, 1.0} and cells[:, 0].std() == pytest.approx(1, rel=1e-3)


def test_signs_cost_nats_and_numbers_squares():
    columns, cells = torch.tensor([[0, NAMES - 1]]), torch.tensor([[0.5, -1.0]])
    found = filling(torch.tensor([[2.5, 3.0]]), columns, cells)
    assert found.tolist()[0] == pytest.approx([2.0, np.log1p(np.exp(3.0))])


def test_masked_cells_are_told_by_the_others():
    random = np.random.default_rng(1)
    world = MadeColumns(random)
    world.sums[:] = world.sums[0]  # one cause, which every column tells
    tables = [world.table(random.permutation(NAMES)[:6], 64, random) for _ in range(20)]
    model = made(0, 16)
    before = told_cells(model, tables[:3], np.random.default_rng(2))
    pretrain(model, [table[:2] for table in tables], random, 60, fill=True, contrast=False)
    assert told_cells(model, tables[:3], np.random.default_rng(2)) > max(before, 0) + 0.2


def test_tuning_reads_the_label_where_it_is_asked_for_and_leaves_the_model():
    random = np.random.default_rng(3)
    columns, cells = np.arange(6), random.standard_normal((300, 6)).astype(np.float32)
    model, labels = made(1, 16), cells[:, 2] > 0
    kept = [weight.clone() for weight in model.parameters()]
    scores = tuned(model, columns, (cells[:100], labels[:100]), cells[100:], 3e-3, 40, random)
    assert ((scores > 0) == labels[100:]).mean() > 0.75
    assert all(torch.equal(one, other) for one, other in zip(kept, model.parameters(), strict=True))


def test_fresh_columns_are_read_or_left_out():
    world = MadeColumns(np.random.default_rng(4))
    read, ignored = (NamedCells(fresh=1, ignored=leave)._new(world, np.random.default_rng(5)) for leave in (False, True))
    assert (read[0] >= NAMES).sum() == 1 and read[0].max() < NAMES + FRESH
    assert (ignored[0] == read[0][:5]).all() and (ignored[1] == read[1][:, :5]).all()
    own, other = (NamedCells(learned=how)._new(world, np.random.default_rng(5)) for how in ("both", "renamed"))
    assert (own[1] == other[1]).all() and (own[0] != other[0]).all() and (is_sign(own[0]) == is_sign(other[0])).all()
