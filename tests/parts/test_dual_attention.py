"""Attention across places and across channels, each against a computation of its own."""

from __future__ import annotations

import numpy as np
import torch

from windtunnel.kits.image.dual_attention import HEADS, ChannelAttention, DualNetwork, PlaceAttention, dice_and_entropy, merged, parted
from windtunnel.parts.experiment.dual_attention import KINDS, DualAttention, drawn


def softmax(rows: np.ndarray, axis: int) -> np.ndarray:
    shifted = np.exp(rows - rows.max(axis=axis, keepdims=True))
    return shifted / shifted.sum(axis=axis, keepdims=True)


def test_attentions_are_their_formulas():
    torch.manual_seed(0)
    rows, width = torch.randn(1, 9, 8), 8
    for layer in (PlaceAttention(width, full=False), PlaceAttention(width, full=True), ChannelAttention(width)):
        with torch.no_grad():
            found, mixed = layer(rows)[0], layer.into(rows)[0].numpy().reshape(9, 3, HEADS, -1)
        heads = []
        for head in range(HEADS):
            query, key, value = mixed[:, 0, head], mixed[:, 1, head], mixed[:, 2, head]
            if isinstance(layer, ChannelAttention):
                query, key = (each / np.linalg.norm(each, axis=0) for each in (query, key))
                heads.append(value @ softmax(query.T @ key, 1).T)
            elif layer.full:
                heads.append(softmax(query @ key.T / query.shape[1] ** 0.5, 1) @ value)
            else:
                heads.append(softmax(query, 1) @ (softmax(key, 0).T @ value))
        wanted = torch.from_numpy(np.concatenate(heads, axis=1)) @ layer.out.weight.T + layer.out.bias
        assert torch.allclose(found, wanted, atol=1e-5)


def test_kinds_have_as_many_numbers_and_scales_fit():
    count = {kind: sum(each.numel() for each in DualNetwork(24, 6, pair, between=False).parameters()) for kind, pair in KINDS.items()}
    assert count["places"] == count["full"] and 0 < count["channels"] - count["places"] == 2 * (count["dual"] - count["places"]) < 100
    rows = torch.randn(2, 16, 5)
    assert torch.equal(parted(merged(rows)), rows)
    network = DualNetwork(24, 6, KINDS["dual"], between=True)
    assert network(torch.randn(2, 3, 24, 24)).shape == (2, 6, 24, 24)
    labels = torch.randint(0, 6, (2, 24, 24))
    sure = 50.0 * torch.nn.functional.one_hot(labels, 6).movedim(3, 1)
    assert dice_and_entropy(sure, labels) < 1e-3 < 1.5 < dice_and_entropy(-sure, labels)


def test_what_is_drawn_first_is_kept_but_for_the_last_layer():
    _, labels, small = drawn(np.random.default_rng(0), 30)
    assert labels.max() == 5 and (labels[~small] > 0).all()
    knobs = DualAttention(steps=1, pretrained=True)
    filled = knobs._filled(torch.randn(20, 3, 24, 24), 0).state_dict()
    tuned = knobs._learned((torch.randn(20, 3, 24, 24), torch.zeros(20, 24, 24, dtype=torch.int64)), filled, 1e-9, 0).state_dict()
    assert all(torch.allclose(tuned[name], weight, atol=1e-6) for name, weight in filled.items() if not name.startswith("out."))
    assert tuned["out.weight"].shape != filled["out.weight"].shape
