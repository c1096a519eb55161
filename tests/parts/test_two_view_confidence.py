"""Weights by confidence: their formulas, labels smoothed by hand, and knowing the right labels pays."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from windtunnel.parts.experiment.two_view_confidence import CLASSES, SIDE, TwoViewConfidence, around, maps, mislabelled, smoothed


def test_weights_have_mean_one_and_come_from_whom_they_should():
    first, second = torch.tensor([0.9, 0.1, 0.5]), torch.tensor([0.2, 0.2, 0.8])
    right = torch.tensor([1.0, 0.0, 1.0])
    found = {how: TwoViewConfidence(how=how)._weights([first, second], right) for how in ("own", "other", "cross", "right")}
    assert torch.allclose(found["own"][0], first / first.mean(), atol=1e-4)
    assert torch.equal(found["other"][0], found["own"][1])
    assert torch.allclose(found["cross"][0], (first + second) / (first + second).mean(), atol=1e-4)
    assert found["right"][1][1] == 0


def test_labels_are_smoothed_by_the_pixels_around():
    labels = np.zeros((1, SIDE, SIDE), int)
    labels[0, 5, 5] = 2
    found = smoothed(labels, 0.4)
    assert found[0, 5, 5] == pytest.approx([0.4, 0, 0.6, 0]) and found[0, 4, 4] == pytest.approx([1 - 0.05, 0, 0.05, 0])
    assert found.sum(axis=3) == pytest.approx(np.ones((1, SIDE, SIDE)))


def test_labels_are_wrong_in_blocks():
    truth = maps(2, np.random.default_rng(115))
    wrong = mislabelled(truth, 0.5, np.random.default_rng(116)) != truth
    blocks = wrong.reshape(2, SIDE // 5, 5, SIDE // 5, 5)
    assert (blocks == blocks[:, :, :1, :, :1]).all() and 0.2 < wrong.mean() < 0.8
    assert truth.max() < CLASSES


def test_a_pixel_sees_its_neighbours():
    pixels = np.arange(SIDE * SIDE, dtype=float).reshape(1, SIDE, SIDE, 1)
    found = around(pixels).reshape(SIDE, SIDE, 9)
    assert sorted(found[5, 5]) == sorted(pixels[0, 4:7, 4:7, 0].ravel())


def test_knowing_which_labels_are_right_pays():
    plain, right = (TwoViewConfidence(how=how, maps=3, steps=60).measure(117) for how in ("plain", "right"))
    assert right["accuracy"] > plain["accuracy"] and right["trust"] > plain["trust"] == pytest.approx(1, abs=1e-3)
