"""Series foretold in stages."""

from __future__ import annotations

import numpy as np
import pytest

from windtunnel.core.errors import PartError
from windtunnel.parts.experiment.pooled_stages import PATCH, PooledStages, drawn, foretold_within, read


def test_a_stage_reads_the_largest_of_its_points():
    window = np.arange(48.0)[None]
    assert read(window, 24, np.zeros((2, 0))).tolist() == [[23.0, 47.0]]
    assert read(window, 24, np.array([[1.0], [-1.0]])).tolist() == [[23.0, 47.0, 0.0]]


def test_a_stage_foretells_a_patch_from_those_before_it():
    random = np.random.default_rng(0)
    window, weights = random.standard_normal((3, 3 * PATCH)), random.standard_normal((2 * PATCH, PATCH))
    stage = (1, np.zeros((2 * PATCH, 0)), weights)
    found = foretold_within(window, stage, 2)
    assert np.allclose(found[:, -PATCH:], window[:, : 2 * PATCH] @ weights) and not found[:, :PATCH].any()
    window[:, -PATCH:] += 5
    assert np.array_equal(foretold_within(window, stage, 2), found), "no patch is read for itself or for earlier ones"


def test_what_repeats_is_foretold():
    random = np.random.default_rng(0)
    part = PooledStages(families=("seasons",), series=40, wide=0, pools=(2, 1))
    series = drawn("seasons", random, 40)
    fitted = part._fitted(series, random)
    found = part.rolled(fitted, series[:, :-PATCH], 1)
    assert ((found - series[:, -PATCH:]) ** 2).mean() < 0.2 * series.var()


@pytest.mark.parametrize("knobs", [{"pools": (5,)}, {"families": ("waves",)}])
def test_what_is_not_known_is_refused(knobs):
    with pytest.raises(PartError, match="pooled-stages"):
        PooledStages(**knobs).measure(0)
