"""Masked convolutions: what is masked is not seen, and means are of what is."""

from __future__ import annotations

import numpy as np
import torch

from windtunnel.kits.image.sparse_masking import STRIDE, Convolutions, MaskedNorm, Redrawn, shown, spread, view
from windtunnel.parts.experiment.shrinking_labels import ShrinkingLabels, drawn


def test_nothing_comes_out_of_what_is_masked():
    torch.manual_seed(0)
    network, images = Convolutions(), torch.randn(4, 3, 24, 24)
    seen = shown(4, 6, 0.6, torch.Generator().manual_seed(0))
    assert seen.sum(dim=(1, 2, 3)).tolist() == [36 - 22] * 4
    changed = torch.where(spread(seen, 24), images, torch.randn(4, 3, 24, 24))
    for one, other in zip(network(images, seen), network(changed, seen), strict=True):
        assert torch.equal(one, other) and (one[~spread(seen, one.shape[-1]).expand_as(one)] == 0).all()
    everything = torch.ones(4, 1, 6, 6, dtype=torch.bool)
    for one, other in zip(network(images, everything), network(images), strict=True):
        assert torch.allclose(one, other, atol=1e-5), "where all is seen it is an ordinary network"


def test_means_are_of_what_is_seen():
    norm, found = MaskedNorm(3), torch.randn(2, 3, 4, 4)
    seen = torch.rand(2, 1, 4, 4) < 0.5
    rows = found.movedim(1, 3)[seen[:, 0]].numpy()
    wanted = (rows - rows.mean(axis=0)) / np.sqrt(rows.var(axis=0) + norm.eps)
    assert np.allclose(norm.over(found, seen).movedim(1, 3)[seen[:, 0]].detach().numpy(), wanted, atol=1e-5)
    assert np.allclose(norm.running_mean.numpy(), 0.1 * rows.mean(axis=0), atol=1e-6)


def test_only_masked_places_are_drawn_and_only_sparse_ones_are_blind():
    images, seen = torch.randn(2, 3, 24, 24), shown(2, 6, 0.5, torch.Generator().manual_seed(1))
    for sparse in (True, False):
        torch.manual_seed(0)
        redrawn = Redrawn(Convolutions(), sparse=sparse)
        redrawn.loss(images, seen).backward()
        assert all((each.grad is not None) is sparse for each in redrawn.empty)
    nothing = torch.ones_like(images)
    assert torch.isfinite(redrawn.loss(nothing, seen)), "a patch without contrast has a target of 0"


def test_all_tuning_is_of_the_same_images_and_a_view_is_another_look():
    images, labels = drawn(np.random.default_rng(0), 30)
    assert images.shape == (30, 3, 24, 24) and set(labels.tolist()) == set(range(5)) and 24 % STRIDE == 0
    one, other = (view(images.numpy(), np.random.default_rng(seed)) for seed in (0, 1))
    assert one.shape == images.shape and not torch.equal(one, other)
    found = ShrinkingLabels(pretraining=2, unlabelled=40, labels=100, tuning=3, judged=40).measure(80)
    assert found["drop"] == found["all"] - found["few"]
