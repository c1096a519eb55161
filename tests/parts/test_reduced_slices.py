"""Slices kept for contrast: distances against plain computations, the greedy rule, and a loss that is the usual one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from windtunnel.kits.image.contrastive import contrast, encoder, features, pretrained, probed, views
from windtunnel.parts.experiment.reduced_slices import ReducedSlices, distances, farthest, shared_information, sliced


def test_distances_are_what_they_are_called():
    random = np.random.default_rng(137)
    volumes = random.random((2, 3, 64))
    bits = volumes > volumes.mean(axis=2, keepdims=True)
    assert distances(volumes, "hash")[1, 0, 2] == (bits[1, 0] != bits[1, 2]).sum()
    one, two = volumes[0, 1], volumes[0, 2]
    cosine = 1 - one @ two / np.linalg.norm(one) / np.linalg.norm(two)
    assert distances(volumes, "embedding")[0, 1, 2] == pytest.approx(cosine)
    grey = (volumes * 8).astype(int)
    assert distances(volumes, "information")[0, 1, 2] == pytest.approx(1 - shared_information(grey[0, 1], grey[0, 2]))


def test_shared_information_of_the_same_and_of_strangers():
    random = np.random.default_rng(138)
    one, two = random.integers(0, 8, (2, 20000))
    assert shared_information(one, one) == pytest.approx(1) and shared_information(one, (one + 3) % 8) == pytest.approx(1)
    assert shared_information(one, two) < 0.01 and shared_information(one * 0, one * 0) == 1


def test_a_slice_is_kept_if_it_is_far_from_the_last_kept():
    line = np.array([[0.0, 1.0, 1.5, 3.0, 3.2, 6.0]])
    between = np.abs(line[:, :, None] - line[:, None])
    kept = farthest(between, 3)
    assert kept.tolist() == [0, 3, 5]  # at a threshold of 2.8 or less, 3.0 is too near at 3.0
    assert farthest(between, 6).tolist() == [0, 1, 2, 3, 4, 5] and farthest(between, 1).tolist() == [0]


def test_the_loss_is_that_of_the_partner_among_all():
    random = np.random.default_rng(139)
    first, second = (torch.from_numpy(random.standard_normal((3, 4))) for _ in range(2))
    both = np.concatenate([first.numpy(), second.numpy()])
    both /= np.linalg.norm(both, axis=1, keepdims=True)
    alike = np.exp(both @ both.T / 0.2)
    byhand = [-np.log(alike[n, (n + 3) % 6] / (alike[n].sum() - alike[n, n])) for n in range(6)]
    assert float(contrast(first, second)) == pytest.approx(np.mean(byhand))


def test_views_of_an_image_come_together():
    random = np.random.default_rng(140)
    images = random.random((40, 64))
    assert views(images, random).shape == (40, 64)
    model = pretrained(images, 1, random, steps=60)

    def near(some: torch.nn.Module) -> float:
        one, two = (features(some, views(images, random)) for _ in range(2))
        return float(((one @ two.T).argmax(axis=1) == np.arange(40)).mean())

    assert near(model) > near(encoder(1))
    assert probed(model, images[:20], np.arange(20) % 2, images[:20], np.arange(20) % 2) > 0.7


def test_slices_drift_and_as_many_are_kept():
    pool = sliced(np.random.default_rng(141).random((6, 64)), 5, np.random.default_rng(142))
    assert np.linalg.norm(pool[:, 0] - pool[:, 4], axis=1).mean() > np.linalg.norm(pool[:, 0] - pool[:, 1], axis=1).mean()
    found = ReducedSlices(how="hash", volumes=20, slices=4, share=0.3, steps=3, labels=20).measure(143)
    assert found["volumes"] == 1 and found["steps"] == 3


def test_distances_decide_which_slices_are_kept():
    pool = sliced(np.random.default_rng(144).random((20, 64)), 20, np.random.default_rng(145))
    kept = {how: farthest(distances(pool, how), 40) for how in ("hash", "embedding")}
    assert all(len(each) > 30 and len(np.unique(each // 20)) == 20 for each in kept.values())
    assert not np.array_equal(kept["hash"], kept["embedding"]), "not the first of each volume alone"
    with pytest.raises(ValidationError, match="is not more than the first of each volume"):
        ReducedSlices(how="hash", slices=10)
    with pytest.raises(ValidationError, match="volumes: 1150 and 60 labels"):
        ReducedSlices(volumes=1150)
