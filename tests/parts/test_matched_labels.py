"""Maps that are drawn by likeness: labels of supports come back, and tuning moves only what is the task's."""

from __future__ import annotations

import numpy as np
import torch

from windtunnel.kits.image.matching import PATCH, LabelMatching, SharedMaps
from windtunnel.parts.experiment.matched_labels import MAPS, SIZE, MatchedLabels, drawn, error, new


def test_maps_are_those_of_the_objects():
    images, maps = drawn(np.random.default_rng(0), 60)
    assert images.shape == (60, 3, SIZE, SIZE) and maps.shape == (60, len(MAPS), SIZE, SIZE)
    inside, edge, deep, near, circle = (maps[:, MAPS.index(name)] for name in ("inside", "edge", "depth", "near", "circle"))
    within = inside > 0
    assert (edge[within].unique().numel(), edge[~within].unique().numel()) == (2, 1), "an edge is inside"
    assert deep[within].min() > deep[~within].max() and near[within].unique().numel() == 1
    assert circle[~within].unique().numel() == 1 and 0 < (circle > 0).float().mean() < within.float().mean()
    assert (maps.mean(dim=(0, 2, 3)).abs() < 0.6).all() and (maps.std(dim=(0, 2, 3)) - 1).abs().max() < 0.6


def test_a_mean_of_labels_comes_back():
    """Where all patches are alike attention is even, so every patch gets the mean of the embedded labels."""
    torch.manual_seed(0)
    network, labels = LabelMatching(1), torch.randn(3, 8, 8)
    for ask in network.ask:
        torch.nn.init.zeros_(ask.weight)
    found = network(torch.randn(2, 3, 8, 8), torch.randn(3, 3, 8, 8), labels, network.biases[0], network.gates[0])
    values = 2 * network.label(labels[:, None]).mean(dim=(0, 2, 3))
    square = values[None, :, None, None].expand(1, -1, 8 // PATCH, 8 // PATCH)
    wanted = torch.nn.functional.pixel_shuffle(network.draw(square + torch.nn.functional.gelu(network.smooth(square))), PATCH)
    assert torch.allclose(found, wanted[:, 0].expand(2, -1, -1), atol=1e-4)


def test_tuning_moves_the_numbers_of_the_task_alone():
    torch.manual_seed(0)
    images, maps = drawn(np.random.default_rng(0), 6)
    network = LabelMatching(3)
    before = {name: weight.clone() for name, weight in network.state_dict().items()}
    knobs = MatchedLabels(learned="matching", shots=6, tuning=3)
    tuned, fixed = knobs._tuned(network, images, maps[:, 0], 0.1, 0), new(network, images, maps[:, 0])[0]
    assert error(tuned, images, maps[:, 0]) != error(fixed, images, maps[:, 0])
    assert all(torch.equal(weight, before[name]) for name, weight in network.state_dict().items())
    assert len(new(SharedMaps(2), images, maps[:, 0])[1]) > 2


def test_the_mean_has_an_error_of_one():
    _, maps = drawn(np.random.default_rng(1), 40)
    assert abs(error(lambda images: maps[:, 0].mean().expand(len(images), SIZE, SIZE), torch.zeros(40, 1), maps[:, 0]) - 1) < 1e-5
