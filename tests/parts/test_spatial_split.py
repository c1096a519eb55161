"""Maps that are split: blocks are held out whole, fields are as smooth as they should be, and random splits flatter."""

from __future__ import annotations

import numpy as np
import pytest

from windtunnel.core.registry import make
from windtunnel.parts.experiment.spatial_split import held_out, smooth_field
from windtunnel.slots import Experiment


def test_blocks_are_held_out_whole():
    held = held_out(12, 3, np.random.default_rng(0)).reshape(4, 3, 4, 3)
    blocks = held.mean(axis=(1, 3))
    assert set(blocks.ravel()) == {0.0, 1.0} and blocks.mean() == 0.25
    assert held_out(10, 4, np.random.default_rng(0)).shape == (100,)
    assert held_out(12, 1, np.random.default_rng(0)).mean() == 0.25


@pytest.mark.parametrize(("window", "alike"), [(1, 0.0), (5, 0.8)])
def test_neighbours_are_as_alike_as_the_window_says(window, alike):
    field = smooth_field(64, window, np.random.default_rng(1))
    assert field.mean() == pytest.approx(0, abs=1e-9) and field.std() == pytest.approx(1)
    assert (field * np.roll(field, 1, axis=0)).mean() == pytest.approx(alike, abs=0.06)


def test_a_block_that_is_the_whole_map_is_refused():
    with pytest.raises(ValueError, match="whole map of 8"):
        make(Experiment, {"spatial-split": {"side": 8, "split": "blocks"}})


def test_a_random_split_flatters_where_neighbours_are_alike():
    def mean(**knobs: object) -> dict[str, float]:
        part = make(Experiment, {"spatial-split": {"side": 32, **knobs}})
        found = [part.measure(seed) for seed in range(4)]
        return {name: float(np.mean([one[name] for one in found])) for name in found[0]}

    random, blocks, unrelated = mean(), mean(split="blocks"), mean(smooth=1)
    assert random["accuracy"] > blocks["accuracy"] + 0.04 and random["off"] > blocks["off"]
    assert abs(unrelated["accuracy"] - unrelated["other_map"]) < 0.04 and mean() == random
