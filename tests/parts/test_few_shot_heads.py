"""Heads of a few labelled vectors, beside names."""

from __future__ import annotations

import numpy as np
import pytest

from windtunnel.core.errors import PartError
from windtunnel.kits.heads import discriminants
from windtunnel.kits.image.tiny import dealt
from windtunnel.parts.experiment.few_shot_heads import FewShotHeads


def test_discriminants_are_those_of_the_shrunk_gaussian():
    random = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], 6)
    shown = random.standard_normal((18, 4)) + 3 * np.eye(4)[labels]
    means = np.stack([shown[labels == label].mean(axis=0) for label in range(3)])
    pooled = sum((row - means[label])[:, None] * (row - means[label]) for row, label in zip(shown, labels, strict=True)) / 17
    precision = 4 * np.linalg.inv(17 * pooled + np.trace(pooled) * np.eye(4))
    asked = random.standard_normal((5, 4))
    wanted = [[one @ precision @ mean - mean @ precision @ mean / 2 for mean in means] for one in asked]
    assert discriminants(shown, labels, asked, whole=True) == pytest.approx(np.array(wanted))
    away = ((asked[:, None] - means) ** 2).sum(axis=2)
    assert (discriminants(shown, labels, asked, whole=False).argmax(axis=1) == away.argmin(axis=1)).all()


def test_the_covariance_helps_where_there_are_enough_images():
    nearest, whole = (
        np.mean([FewShotHeads(head=head).measure(seed)["accuracy"] for seed in (80, 81)]) for head in ("nearest", "discriminant")
    )
    assert whole > nearest + 0.01
    assert FewShotHeads(head="names", vague=0.0).measure(80)["accuracy"] > FewShotHeads(head="names", vague=2.0).measure(80)["accuracy"]
    with pytest.raises(PartError, match="fewer than 80 images"):
        FewShotHeads(shots=80).measure(0)


def test_images_of_names_are_none_that_heads_read():
    data = dealt("few-shot-heads", np.random.default_rng(0))
    least = int(np.bincount(data.labels[data.train].numpy()).min())
    FewShotHeads(shots=least - 5, head="nearest").measure(0)
    with pytest.raises(PartError, match="5 for its name"):
        FewShotHeads(shots=least - 4, head="nearest").measure(0)
