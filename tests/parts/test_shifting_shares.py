"""Shares of topics that move."""

from __future__ import annotations

import numpy as np
import pytest

from windtunnel.core.errors import PartError
from windtunnel.parts.experiment.shifting_shares import ShiftingShares


def test_shares_follow_what_is_behind_or_what_moves():
    before, last, now = np.array([1.0, 1.0, 2.0]), np.array([1.0, 0.8, 1.0]), np.array([1.0, 0.4, 1.0])
    behind = ShiftingShares(topics=2)._shares(before, last, now)
    assert behind == pytest.approx(np.exp([1.6, 2.0]) / np.exp([1.6, 2.0]).sum())
    moving = ShiftingShares(topics=2, shares="moving")._shares(before, last, now)
    assert moving == pytest.approx(np.array([0.45, 0.05]) / 0.5)
    assert ShiftingShares(topics=2, shares="even")._shares(before, last, now).tolist() == [0.5, 0.5]


def test_old_examples_keep_the_old_topic():
    none, some = (ShiftingShares(old=old, shares="even").measure(80) for old in (0.0, 0.5))
    assert some["kept"] < none["kept"] and some["error"] > none["error"]


def test_a_rate_that_is_too_high_is_refused():
    with pytest.raises(PartError, match="rate: errors grow without end"):
        ShiftingShares(rate=0.5, budget=200).measure(80)
