"""Weights that are made for tasks."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from windtunnel.parts.experiment.generated_networks import CLASSES, HIDDEN, GeneratedNetworks, answers, right, size


def test_weights_are_laid_out_as_a_network():
    weights = torch.zeros(2, size())
    weights[1, 3 * HIDDEN + HIDDEN * CLASSES] = 5.0  # the bias of the first class
    points = torch.randn(2, 4, 2)
    found = answers(weights, points)
    assert found.shape == (2, 4, CLASSES) and torch.equal(found[1, :, 0], torch.full((4,), 5.0)) and not found[0].any()
    assert right(weights, points, torch.zeros(2, 4, dtype=torch.long)).tolist() == [1.0, 1.0]


def test_trained_networks_know_their_tasks_and_others_do_not():
    knobs = {"zoo": 30, "tasks": 4, "training": 60, "steps": 30, "codes": 12, "parts": 8}
    nearest, random, codes = (GeneratedNetworks(way=way, **knobs).measure(80) for way in ("nearest", "random", "codes"))
    assert nearest["trained"] > random["accuracy"] + 0.1 and nearest["apart"] < 1e-3 < codes["apart"]
    assert 0.2 < GeneratedNetworks(way="diffusion", **knobs).measure(80)["accuracy"] <= 1


def test_more_parts_or_codes_than_a_zoo_has_are_refused():
    with pytest.raises(ValidationError, match="fewer than 24 principal components"):
        GeneratedNetworks(zoo=24)
    with pytest.raises(ValidationError, match="are 36 pieces, fewer than 48"):
        GeneratedNetworks(zoo=4, way="codes")


def test_all_ways_are_judged_on_the_same_tasks_and_points():
    knobs = {"zoo": 12, "tasks": 3, "training": 20, "steps": 4, "codes": 6, "parts": 4}
    found = [GeneratedNetworks(way=way, **knobs).measure(81)["trained"] for way in ("nearest", "noisy", "begun", "diffusion", "random")]
    assert len(set(found)) == 1, "networks that were trained on the tasks are right on the same points in every arm"
