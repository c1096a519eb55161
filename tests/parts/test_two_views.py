"""Two networks that were misled by different marks."""

from __future__ import annotations

import numpy as np
import pytest

from windtunnel.parts.experiment.two_views import TwoViews, mark


def test_a_mark_is_the_label_as_often_as_it_says():
    random, labels = np.random.default_rng(0), np.random.default_rng(1).integers(10, size=4000)
    for share in (0.1, 0.95):
        shown = mark(labels, share, random).numpy()
        assert (shown.sum(axis=1) == 1).all() and (shown.argmax(axis=1) == labels).mean() == pytest.approx(share, abs=0.02)


def test_a_mark_of_tuning_misleads_who_is_tuned():
    knobs = {"before": 80, "steps": 60, "rates": (1e-2,)}
    misled, right = (TwoViews(way="all", misled_later=share, **knobs).measure(80) for share in (0.95, 0.1))
    assert misled["alike"] > right["alike"] and misled["accuracy"] < right["accuracy"]
    assert TwoViews(way="layers", **knobs).measure(80)["accuracy"] > 0.3
