"""Features of classes of which the names are known."""

from __future__ import annotations

import pytest
import torch

from windtunnel.parts.experiment.invented_features import InventedFeatures, invented


def test_features_are_invented_from_the_nearest_names_and_the_way_to_them():
    names = torch.nn.functional.normalize(torch.randn(10, 8, generator=torch.Generator().manual_seed(0)), dim=1)
    moved = torch.randn(8, generator=torch.Generator().manual_seed(1))
    found = invented(names, names[:5] + moved)
    assert torch.allclose(found, names[5:] + moved, atol=1e-5), "where images lie beside their names by one step, so do invented ones"
    near = (names[5] @ names[:5].T).topk(3)
    centres = torch.eye(5, 8)
    wanted = (torch.softmax(10 * near.values, dim=0)[:, None] * (centres[near.indices] + names[5] - names[near.indices])).sum(dim=0)
    assert torch.allclose(invented(names, centres)[0], wanted, atol=1e-5)


def test_long_tuning_forgets_names_of_other_classes():
    before, after = (InventedFeatures(steps=steps, rate=0.01).measure(80) for steps in (0, 150))
    assert after["known"] > before["known"] and after["new"] < before["new"] + 0.02
    assert before["harmonic"] == pytest.approx(2 * before["known"] * before["new"] / (before["known"] + before["new"]))
