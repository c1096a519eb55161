"""Few numbers added to a network."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from windtunnel.kits.image.tiny import begun, said
from windtunnel.parts.experiment.small_additions import HIDDEN, SmallAdditions, kronecker


def test_kronecker_sums_are_those_of_torch():
    generator = torch.Generator().manual_seed(0)
    shared, columns, rows = (torch.randn(*shape, generator=generator) for shape in ((3, 3, 3), (3, 2), (3, 4)))
    wanted = sum(torch.kron(shared[part], torch.outer(columns[part], rows[part])) for part in range(3))
    assert torch.allclose(kronecker(shared, columns, rows), wanted, atol=1e-5)
    with pytest.raises(ValueError, match="divide"):
        SmallAdditions(form="kronecker", rank=6)


def test_what_begins_at_zero_changes_nothing_and_counts_are_equal():
    first, inputs, generator = begun((64, 16, 16, 10), 0), torch.rand(4, 64), torch.Generator().manual_seed(0)
    masks = {f"{layer}.weight": torch.ones_like(first[f"{layer}.weight"]) for layer in HIDDEN}
    counts = {}
    for form in ("bottleneck", "low-rank", "low-rank-sparse", "sparse", "all", "last"):
        part = SmallAdditions(form=form, width=16, rank=4)
        held = part._begun(first, generator)
        assert torch.allclose(part.said(first, held, inputs, masks), said(first, inputs), atol=1e-5), form
        counts[form] = sum(weight.numel() for weight in held.values())
    assert counts["low-rank"] == counts["low-rank-sparse"] == counts["sparse"] > counts["last"]


def test_more_than_the_last_layer_helps_and_pruned_weights_stay_zero():
    knobs = {"training": 120, "steps": 50, "rates": (1e-2,), "width": 32}
    last, low = (SmallAdditions(form=form, **knobs).measure(80) for form in ("last", "low-rank"))
    assert low["accuracy"] > last["accuracy"] and last["numbers"] == 0
    assert (
        SmallAdditions(form="all", pruned=0.95, **knobs).measure(80)["accuracy"]
        < SmallAdditions(form="all", **knobs).measure(80)["accuracy"]
    )


def test_more_entries_than_a_matrix_has_are_refused():
    assert SmallAdditions(form="sparse", rank=32).rank == 32
    with pytest.raises(ValidationError, match="rank 32 at most"):
        SmallAdditions(form="sparse", rank=33)
