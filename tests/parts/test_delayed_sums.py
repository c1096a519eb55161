"""Sums that are held out: which are shown, and when they count as known."""

from __future__ import annotations

import pytest

from windtunnel.core.errors import PartError
from windtunnel.parts.experiment.delayed_sums import DelayedSums


def test_what_is_shown_is_known_first():
    found = DelayedSums(modulus=11, ratio=6.0, steps=150, rate=0.01).measure(153)
    assert found["train"] == 1 and found["memorised"] <= found["generalised"]
    assert found["delay"] == pytest.approx(found["generalised"] / found["memorised"])
    assert 0 <= found["held_out"] < 0.9


@pytest.mark.parametrize("ratio", [0.1, 6.0])
def test_some_sums_are_shown_and_some_are_held_out(ratio):
    with pytest.raises(PartError, match="of 15 sums"):  # of which these are none, or all
        DelayedSums(modulus=5, ratio=ratio, steps=10).measure(154)
