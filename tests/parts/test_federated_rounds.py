"""Devices that tune one network together."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from windtunnel.core.errors import PartError
from windtunnel.kits.image import tiny
from windtunnel.kits.image.tiny import begun, classified
from windtunnel.parts.experiment.federated_rounds import MATRICES, RANK, FederatedRounds, averaged, averaged_products, placed


def test_every_image_is_on_one_device_and_few_classes_are_on_each():
    labels = np.repeat(np.arange(10), 50)
    shares = FederatedRounds(even=0.05)._dealt(labels, np.random.default_rng(0))
    assert sorted(np.concatenate(shares).tolist()) == list(range(500))
    classes = [len(set(labels[share].tolist())) for share in shares if len(share)]
    assert np.mean(classes) < 6


def test_products_are_averaged_and_not_their_factors():
    first, generator = begun((64, 8, 8, 10), 0), torch.Generator().manual_seed(0)
    sent = []
    for _ in range(2):
        one = {}
        for name in MATRICES:
            out, read = first[name].shape
            one |= {f"{name}.down": torch.randn(1, read, generator=generator), f"{name}.up": torch.randn(out, 1, generator=generator)}
        sent.append(one)
    wanted = 0.25 * sent[0]["1.weight.up"] @ sent[0]["1.weight.down"] + 0.75 * sent[1]["1.weight.up"] @ sent[1]["1.weight.down"]
    found = averaged_products(sent, [10, 30])
    assert found["1.weight.up"].shape == (8, RANK)
    assert torch.allclose(placed(first, found)["1.weight"] - first["1.weight"], wanted, atol=1e-4), "rank 2 fits into rank 4"
    assert torch.allclose(averaged(sent, [10, 30])["0.weight.up"], 0.25 * sent[0]["0.weight.up"] + 0.75 * sent[1]["0.weight.up"])


def test_rounds_help_and_sizes_are_told():
    knobs = {"rates": (1e-2,), "training": 120, "even": 10.0}
    few, many = (FederatedRounds(rounds=rounds, **knobs).measure(80) for rounds in (1, 8))
    assert many["accuracy"] > few["accuracy"] and FederatedRounds(sends="biases", rounds=1, **knobs).measure(80)["sent"] == 48 + 48 + 10


def test_no_labels_at_all_are_refused():
    with pytest.raises(PartError, match="none has a label"):
        FederatedRounds(labelled=1e-9, training=1).measure(0)


def test_pretraining_has_not_seen_the_images_of_devices(monkeypatch):
    seen = []
    monkeypatch.setattr(tiny, "classified", lambda inputs, labels: seen.append(inputs) or classified(inputs, labels))
    FederatedRounds(rounds=2, training=1, degrees=0.0, even=10.0, rates=(1e-3,)).measure(81)
    before = {tuple(row) for row in seen[0].tolist()}
    assert not any(tuple(row) in before for part in seen[1:] for row in part.tolist())


def test_the_same_devices_are_asked_with_and_without_guesses(monkeypatch):
    owners: list[int] = []
    taught = FederatedRounds._taught
    monkeypatch.setattr(FederatedRounds, "_taught", lambda self, *given: owners.append(len(given[1])) or taught(self, *given))
    for unlabelled in ("nothing", "guess"):
        FederatedRounds(rounds=3, training=120, degrees=0.0, labelled=0.2, unlabelled=unlabelled, rates=(1e-3,)).measure(82)
    assert owners[: len(owners) // 2] == owners[len(owners) // 2 :]
