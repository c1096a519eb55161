"""Sums that are held out: which are shown, and when they count as known."""

from __future__ import annotations

import pytest

from windtunnel.parts.experiment.delayed_sums import DelayedSums


def test_what_is_shown_is_known_first():
    found = DelayedSums(modulus=11, ratio=6.0, steps=150, rate=0.01).measure(153)
    assert found["train"] == 1 and found["memorised"] <= found["generalised"]
    assert found["delay"] == pytest.approx(found["generalised"] / found["memorised"])
    assert 0 <= found["held_out"] < 0.9


def test_shown_sums_are_no_more_than_there_are():
    found = DelayedSums(modulus=5, ratio=100.0, steps=10).measure(154)  # 15 pairs, of which one is held out
    assert found["held_out"] in (0.0, 1.0)
