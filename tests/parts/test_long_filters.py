"""Stretches that come twice, and counting them by Fourier transforms."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from windtunnel.parts.experiment.long_filters import MOTIF, LongFilters, repeats, sequences


def test_fourier_transforms_count_what_comes_again():
    rows = np.random.default_rng(330).integers(4, size=(3, 50))
    counted = [[(row[place:] == row[:-place]).sum() for place in range(1, 20)] for row in rows]
    assert repeats(rows, 20) == pytest.approx(np.array(counted, float))


def test_stretches_come_again_where_the_label_says_so():
    rows, labels = sequences(200, 100, 60, np.random.default_rng(331))
    alike = np.array([max(((row[60:] == row[:-60])[place : place + MOTIF]).mean() for place in range(17)) for row in rows])
    assert (alike[labels] == 1).all() and (alike[~labels] < 1).all()
    with pytest.raises(ValidationError, match="lower apart or raise length"):
        LongFilters(length=100, apart=90)


def test_only_a_filter_that_reaches_tells():
    right = [LongFilters(length=200, apart=80, context=context, known=400, judged=300).measure(332)["right"] for context in (200, 70)]
    assert right[0] > 0.8 and abs(right[1] - 0.5) < 0.12
