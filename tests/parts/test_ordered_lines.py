"""Orders of lines."""

from __future__ import annotations

import numpy as np

from windtunnel.parts.experiment.ordered_lines import BATCH, LINE, STEPS, OrderedLines, corrupted, ordered


def test_negatives_are_as_hard_as_said():
    random = np.random.default_rng(0)
    lines = random.standard_normal((30, STEPS, LINE))
    found = corrupted(lines, np.repeat([0, 1, 2], 10), random)
    assert np.array_equal(found[:10], lines[np.arange(-1, 9)])
    assert np.allclose(np.sort(found[10:20], axis=1), np.sort(lines[10:20], axis=1))
    assert ((found[20:] != lines[20:]).any(axis=2).sum(axis=1) == 2).all()


def test_an_order_counts_where_no_exchange_is_better():
    table = np.stack([np.eye(STEPS), np.eye(STEPS)])
    table[1, 0, 3] = table[1, 3, 0] = 1.5
    assert ordered(table) == 0.5


def test_negatives_rise_in_thirds():
    part, random = OrderedLines(steps=9), np.random.default_rng(0)
    assert [int(part._kinds(step, random)[0]) for step in range(9)] == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert set(OrderedLines(negatives="mixed")._kinds(0, random)) == {0, 1, 2} and len(part._kinds(0, random)) == BATCH


def test_both_channels_tell_more_than_one():
    both, pictures = (OrderedLines(channels=channels).measure(80)["order"] for channels in ("both", "pictures"))
    assert both > pictures + 0.05
