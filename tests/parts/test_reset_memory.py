"""Scans with resets, windows filled in, and images restored."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from windtunnel.kits.scan import joined, scanned
from windtunnel.parts.experiment.filled_windows import FilledWindows, drawn_windows, scaled
from windtunnel.parts.experiment.reset_memory import ResetMemory
from windtunnel.parts.experiment.restored_images import RestoredImages, restored, spoiled


def elements(seed: int, places: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    kept, added = (torch.randn(3, places, 2, generator=random, dtype=torch.float64) for _ in range(2))
    return kept, added, (torch.rand(3, places, 1, generator=random) < 0.2).double()


def test_joining_stretches_does_not_depend_on_where_one_begins():
    first, second, third = (tuple(each.expand(3, 5, 2) for each in elements(seed, 5)) for seed in (0, 1, 2))
    left, right = joined(joined(first, second), third), joined(first, joined(second, third))
    for one, other in zip(left, right, strict=True):
        assert torch.allclose(one, other, atol=1e-12)


@pytest.mark.parametrize("places", [1, 2, 7, 33])
def test_the_scan_is_the_recurrence(places):
    kept, added, begun = elements(places, places)
    found, state = scanned(kept, added, begun), torch.zeros(3, 2, dtype=torch.float64)
    for place in range(places):
        state = torch.where(begun[:, place].bool(), added[:, place], kept[:, place] * state + added[:, place])
        assert torch.allclose(found[:, place], state, atol=1e-9)


def test_nothing_leaks_over_a_beginning():
    found = {memory: ResetMemory(memory=memory, steps=3, places=24).measure(80) for memory in ("reset", "carry", "gru")}
    assert found["reset"]["leak"] == 0 == found["gru"]["leak"] and found["carry"]["leak"] > 0
    assert all(one["apart"] < 1e-5 for one in found.values())


def test_cues_are_recalled():
    assert ResetMemory(steps=60, longest=8, places=24).measure(80)["recalled"] > 0.8


def test_windows_are_scaled_by_their_past_alone():
    windows, period = drawn_windows(np.random.default_rng(0), 50, (6, 12))
    given, mean, spread = scaled(windows, 20)
    other = windows.copy()
    other[:, 20:] += 100
    assert (scaled(other, 20)[0][:, :20] == given[:, :20]).all() and given * spread + mean == pytest.approx(windows)
    assert set(period) <= set(range(6, 13)) and FilledWindows(by="season").measure(0) == {"error": 1.0}


def test_a_network_that_foretells_beats_the_season():
    assert FilledWindows(steps=150).measure(80)["error"] < 0.9


def test_each_way_spoils_as_it_says():
    images = torch.rand(40, 8, 8)
    assert ((spoiled(images, "rows") == 0).all(dim=2).sum(dim=1) == 4).all()
    assert ((spoiled(images, "side") == 0).all(dim=1).sum(dim=1) == 3).all()
    assert spoiled(images, "blur").var() < images.var() and (spoiled(images, "clean") == images).all()
    net = torch.nn.Linear(64, 64)
    torch.nn.init.zeros_(net.weight)
    torch.nn.init.zeros_(net.bias)
    assert torch.equal(restored(net, images), images)
    assert RestoredImages(first="many", steps=100).measure(80)["before"] < 0.9
