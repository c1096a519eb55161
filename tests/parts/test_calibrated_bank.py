"""A bank of features of the network before tuning."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from windtunnel.kits.image.tiny import begun
from windtunnel.parts.experiment.calibrated_bank import BODY, CalibratedBank, calibrated, rotation


def test_a_rotation_is_found_again_and_is_no_reflection():
    generator = torch.Generator().manual_seed(0)
    rows, turn = torch.randn(40, 3, generator=generator), torch.linalg.qr(torch.randn(3, 3, generator=generator))[0]
    turn[:, 0] *= torch.linalg.det(turn).sign()
    assert torch.allclose(rotation(rows, rows @ turn), turn, atol=1e-4)
    assert float(torch.linalg.det(rotation(rows, rows * torch.tensor([-1.0, 1, 1])))) == pytest.approx(1, abs=1e-4)


def test_calibrated_features_have_the_means_of_the_classes_that_train():
    generator = torch.Generator().manual_seed(1)
    labels = torch.arange(2).repeat_interleave(30)
    now = torch.nn.functional.one_hot(labels, 6).float() * 5 + 0.1 * torch.randn(60, 6, generator=generator)
    kept = torch.nn.functional.one_hot(3 + labels, 6).float() + 0.1 * torch.randn(60, 6, generator=generator)
    found = calibrated(kept, labels, now, torch.eye(6)[:2])
    assert found.norm(dim=1) == pytest.approx(now.norm(dim=1).mean().expand(60).numpy(), rel=1e-4)
    for label in (0, 1):
        assert float(torch.cosine_similarity(found[labels == label].mean(dim=0), now[labels == label].mean(dim=0), dim=0)) > 0.99


def test_it_tunes():
    assert CalibratedBank(bank="calibrated", steps=60, training=100, rates=(3e-2,)).measure(80)["accuracy"] > 0.7


def test_the_body_of_the_slow_control_moves_by_its_factor_of_the_loss_and_its_head_by_all():
    first, labels = begun((64, 8, 8, 5), 0), torch.arange(10) % 5
    images = torch.rand(10, 64, generator=torch.Generator().manual_seed(2))
    bank = torch.zeros(90, 8), torch.arange(90) % 5, torch.rand(90, 64, generator=torch.Generator().manual_seed(3))
    moved = {}
    for kind in ("none", "slow"):
        tuned = CalibratedBank(bank=kind, steps=1, width=8)._tuned(first, (images, labels), bank, 1e-2, np.random.default_rng(0))
        moved[kind] = {name: tuned[name] - first[name] for name in first}
    for name in first:
        factor = 0.1 if name in BODY else 1.0  # 10 images beside 90 features
        assert torch.allclose(moved["slow"][name], factor * moved["none"][name], rtol=1e-3, atol=1e-7), name
