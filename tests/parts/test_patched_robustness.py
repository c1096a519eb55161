"""Signatures of noise in weights."""

from __future__ import annotations

import torch

from windtunnel.parts.experiment import patched_robustness
from windtunnel.parts.experiment.patched_robustness import CHANNELS, PatchedRobustness, begun_norms, said_by


def test_norms_go_by_the_batch_and_their_averages_follow():
    weights = begun_norms(5, torch.Generator().manual_seed(0))
    images = torch.rand(40, 64)
    before = said_by(weights, images)
    assert before.shape == (40, 5) and torch.equal(weights["mean0"], torch.zeros(CHANNELS[0]))
    by_batch = said_by(weights, images, renew=1.0)
    first = torch.nn.functional.conv2d(images.view(-1, 1, 8, 8), weights["conv0"], padding=1)
    assert torch.allclose(weights["mean0"], first.mean(dim=(0, 2, 3)), atol=1e-5)
    assert torch.allclose(weights["spread0"], first.var(dim=(0, 2, 3)), rtol=1e-3)
    assert torch.allclose(said_by(weights, images), by_batch, atol=0.1) and not torch.allclose(before, by_batch, atol=0.1)


def test_training_on_noise_makes_robust():
    plain, trained = (PatchedRobustness(patch=patch, steps=50).measure(80) for patch in ("none", "trained"))
    assert trained["noisy"] > plain["noisy"] and plain["clean"] > 0.7


def test_every_patch_is_judged_on_the_same_noise(monkeypatch):
    asked, own = [], patched_robustness.said_by

    def seen(weights, images, renew=None):
        if renew is None:
            asked.append(images)
        return own(weights, images, renew)

    monkeypatch.setattr(patched_robustness, "said_by", seen)
    for patch in ("none", "whole", "averages"):
        PatchedRobustness(patch=patch, steps=1).measure(80)
    assert len(asked) == 6 and all(torch.equal(one, asked[0]) for one in asked[::2])
