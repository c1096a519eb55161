"""Flipped labels in pretraining, and heads on the features."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from windtunnel.kits.tuned_features import APART, LEADING, TunedFeatures, covariances, shifted
from windtunnel.parts.experiment.noisy_pretraining import NoisyPretraining


def test_covariances_are_those_between_numbers():
    rows = torch.randn(50, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = np.cov(rows.numpy(), rowvar=False)
    assert float(covariances(rows)) == pytest.approx((found**2).sum() / 4 - (np.diag(found) ** 2).sum() / 4)
    assert float(covariances(torch.diag(torch.ones(3))[:, :1])) == 0, "one number varies with no other"


def test_each_kind_is_punished_for_what_it_names():
    features = torch.randn(64, 8, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    whole = TunedFeatures(8, "whole")
    read = whole.read(features)
    values = torch.linalg.svdvals(read)
    near = torch.nn.functional.mse_loss(torch.nn.functional.normalize(read), torch.nn.functional.normalize(features))
    wanted = near + APART * covariances(read) - LEADING * values[:5].mean() / values.sum()
    assert float(whole.punished(features).detach()) == pytest.approx(float(wanted.detach()), rel=1e-4)
    leading = LEADING * float((values[:5].mean() / values.sum()).detach())
    assert float(near.detach()) < 4 / 8 and leading < 2e-4, "so little can these two weigh"
    for kind in ("linear", "mlp"):
        assert float(TunedFeatures(8, kind).punished(features).detach()) == 0
    assert TunedFeatures(8, "linear").read(features) is features


def test_shifts_keep_the_form_of_images():
    images = np.random.default_rng(0).random((3, 64))
    low, noisy, blurred = shifted(images, np.random.default_rng(1))
    assert {one.shape for one in (low, noisy, blurred)} == {(3, 64)} and np.ptp(low) < 0.41 and blurred.std() < images.std()
    assert shifted(np.full((1, 64), 0.5), np.random.default_rng(1))[2] == pytest.approx(0.5)


def test_flipped_labels_hurt_on_shifted_images():
    clean, noisy = (NoisyPretraining(flips=flips, steps=150, head_steps=60).measure(80)["accuracy"] for flips in (0.0, 0.4))
    assert clean > noisy + 0.05
