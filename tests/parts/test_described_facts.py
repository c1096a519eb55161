"""When facts held, by what is written of their ends."""

from __future__ import annotations

import numpy as np
import pytest

from windtunnel.parts.experiment.described_facts import DescribedFacts, examples, interval, overlap, stretch


def test_the_stretch_is_the_best_of_all():
    scores = np.random.default_rng(0).standard_normal((4, 7))
    for row, (begin, end) in zip(scores, stretch(scores), strict=True):
        best = max((row[a:b].sum(), a, b) for a in range(7) for b in range(a + 1, 8))
        assert row[begin:end].sum() == pytest.approx(best[0])


def test_overlaps_are_shares_of_the_union():
    assert overlap(np.array([[0, 4], [5, 6], [2, 1]]), np.array([[2, 6], [8, 9], [1, 3]])) == pytest.approx((2 / 6 + 0 + 0) / 3)


def test_corrupted_years_lie_outside_and_true_ones_inside():
    random = np.random.default_rng(0)
    rows = np.stack([np.arange(50), np.arange(50) % 4, np.arange(50)[::-1]], axis=1)
    spans = interval(rows, random.integers(0, 8, (50, 2)), np.zeros(50))
    facts, years, holds = examples(rows, spans, 50, "times", random)
    inside = (years.reshape(2, -1) >= spans[:, 0]) & (years.reshape(2, -1) < spans[:, 1])
    assert inside[0].all() and not inside[1].any() and holds.tolist() == [1] * 50 + [0] * 50
    assert (examples(rows, spans, 50, "facts", random)[0][50:] != facts[50:]).any(axis=1).mean() > 0.9


def test_descriptions_tell_of_things_that_were_never_met():
    read = {read: DescribedFacts(read=read, things=400, facts=3000, own=0.0).measure(80) for read in ("regression", "usual")}
    swapped = DescribedFacts(read="swapped", things=20, facts=20, steps=1).measure(80)
    assert read["regression"]["unseen"] > read["usual"]["unseen"] + 0.1 and 0 <= swapped["unseen"] < 0.6
