"""Tasks on unlabelled images."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from windtunnel.kits.image.patch_network import PatchNetwork, cut, hide
from windtunnel.kits.image.pretexts import PRETEXTS, choice_loss, noised, overlap_loss
from windtunnel.kits.image.scattering import scattered, wavelets
from windtunnel.parts.experiment.image_pretexts import ImagePretexts


def test_patches_are_cut_row_by_row_and_hidden_as_many_as_asked():
    images = torch.arange(16.0).view(1, 4, 4)
    assert cut(images, 2)[0].tolist() == [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]
    random = torch.Generator().manual_seed(0)
    for blocks in (False, True):
        assert (hide(random, 50, 4, 0.6, blocks=blocks).sum(dim=1) == 10).all()

    def edges(hidden: torch.Tensor) -> float:
        grid = hidden.view(-1, 4, 4).float()
        return float(grid.diff(dim=1).abs().sum() + grid.diff(dim=2).abs().sum())

    assert edges(hide(random, 200, 4, 0.3, blocks=True)) < 0.8 * edges(hide(random, 200, 4, 0.3))


def test_a_hidden_patch_says_nothing():
    torch.manual_seed(0)
    network, patches = PatchNetwork(4, 4), torch.randn(2, 4, 4)
    hidden = torch.tensor([[True, False, False, False]] * 2)
    other = patches.clone()
    other[:, 0] += 5
    assert torch.equal(network(patches, hidden), network(other, hidden)) and not torch.equal(network(patches), network(other))


def test_a_choice_is_among_hidden_patches_that_can_be_told_apart():
    patches = torch.tensor([[[0.0, 1], [0, 1], [2, 0], [3, 3], [1, 4]]])
    hidden = torch.tensor([[True, True, True, True, False]])
    queries = torch.zeros(1, 5, 2, requires_grad=True)
    loss = choice_loss(queries, torch.ones(1, 5, 2), patches, hidden)
    wanted = (2 * math.log(3) + math.log(4)) / 3  # twins are no candidates for each other; the patch without contrast is not asked for
    assert float(loss.detach()) == pytest.approx(wanted)
    from_others = choice_loss(torch.zeros(3, 5, 2), torch.ones(3, 5, 2), torch.randn(3, 5, 2), hidden.repeat(3, 1), other=True)
    assert float(from_others) == pytest.approx(math.log(3), abs=1e-5)


def test_overlaps_are_distances_of_share_and_cosine():
    crops, tiles = torch.tensor([[1.0, 0.0]]), torch.tensor([[[0.6, 0.8], [0.0, 1.0]]])
    found = overlap_loss(crops, tiles, torch.tensor([[1.0, 0.0]]))
    assert float(found) == pytest.approx(-math.log(0.6) + 0.0 + 0.8**2)


def test_noise_keeps_the_variance():
    images, noise = torch.randn(4000, 2), torch.randn(4000, 2)
    assert float(noised(images, noise, torch.full((4000,), 0.3)).std()) == pytest.approx(1, abs=0.03)
    assert torch.equal(noised(images, noise, torch.zeros(4000)), images)


def test_scattering_moves_little_where_an_image_moves():
    bank, low = wavelets(8)
    assert bank[..., 0, 0].abs().max() < 1e-6 and low[0, 0] == 1, "wavelets have no mean"
    images = torch.randn(20, 8, 8, generator=torch.Generator().manual_seed(0))
    moved = images.roll(1, 2)
    apart = (scattered(images) - scattered(moved)).norm() / scattered(images).norm()
    assert scattered(images).shape == (20, 4, 25) and apart < 0.5 * (images - moved).norm() / images.norm()


def test_every_task_learns():
    random, images = torch.Generator().manual_seed(0), torch.randn(32, 8, 8, generator=torch.Generator().manual_seed(1)).cumsum(2).cumsum(1)
    images = images / images.std()
    knobs = dict(frames=1, shape="single", ratio=0.6, distractors="same", turning=0.3, front="patches", pooled=False)
    for name, kind in PRETEXTS.items():
        torch.manual_seed(0)
        pooled = name == "scales"
        task = kind(
            PatchNetwork(16, 1 if pooled else 4), 1 if pooled else 2, 1 if pooled else 4, 16, SimpleNamespace(**knobs | {"pooled": pooled})
        )
        optimizer, labels = torch.optim.Adam(task.parameters(), 5e-3), torch.arange(32) % 2
        losses = []
        for _ in range(30):
            loss = task.loss(images, labels, random)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
        assert np.mean(losses[-5:]) < np.mean(losses[:5]), name


def test_neighbours_keep_more_within_a_class_than_cross_entropy():
    within = {pretext: ImagePretexts(pretext=pretext, steps=80).measure(80)["within"] for pretext in ("classes", "neighbours")}
    assert within["neighbours"] > within["classes"]


def test_frames_are_drawn_by_the_network_before_it_is_tuned():
    probed, tuned = (ImagePretexts(pretext="masked", frames=3, reading=reading, steps=2).measure(80) for reading in ("probe", "tune"))
    assert tuned["gap"] == probed["gap"] and tuned["all_accuracy"] == probed["all_accuracy"]


@pytest.mark.parametrize(
    ("knobs", "said"),
    [
        ({"pretext": "overlap", "frames": 3}, "the task of overlaps is of one image"),
        ({"front": "scattering", "frames": 3}, "scattering is of one image"),
        ({"pretext": "scales"}, "give it pooled"),
        ({"frames": 2}, "frames"),
    ],
)
def test_what_does_not_go_together_is_refused(knobs, said):
    with pytest.raises(ValidationError, match=said):
        ImagePretexts(**knobs)
