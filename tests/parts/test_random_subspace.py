"""Few numbers thrown onto all weights."""

from __future__ import annotations

import pytest
import torch

from windtunnel.kits.image.tiny import begun
from windtunnel.parts.experiment.random_subspace import RandomSubspace, crossing, placed, sketch


def test_every_weight_has_one_number_and_lengths_are_kept_on_average():
    first = begun((64, 50, 10), 0)
    within = sketch(first, 20, 0)
    moved = torch.randn(20, generator=torch.Generator().manual_seed(1))
    found = placed(first, within, moved)
    change = torch.cat([(found[name] - first[name]).flatten() for name in first])
    assert float(change.norm() / moved.norm()) == pytest.approx(1, abs=0.1)
    one = torch.zeros(20)
    one[3] = 1
    touched = torch.cat([(placed(first, within, one)[name] != first[name]).flatten() for name in first])
    assert float(touched.float().mean()) == pytest.approx(1 / 20, abs=0.01)


def test_where_a_curve_first_crosses():
    assert crossing({4: 0.2, 16: 0.6, 64: 0.9}, 0.4) == pytest.approx(8)
    assert crossing({4: 0.5, 16: 0.6}, 0.4) == 4 and crossing({4: 0.1, 16: 0.2}, 0.4) == 32
    with pytest.raises(ValueError, match="rise"):
        RandomSubspace(sizes=(8, 4))


def test_more_numbers_reach_more():
    found = RandomSubspace(sizes=(4, 128), rates=(0.3,), training=100, steps=50).measure(80)
    assert found["accuracy/128"] > found["accuracy/4"] + 0.2
