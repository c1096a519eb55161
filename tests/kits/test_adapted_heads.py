"""Heads with an adapter: what learns, what waits and what follows."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from windtunnel.kits.adapted_heads import AdaptedLayer, AdaptedMeans, Bottleneck
from windtunnel.kits.heads import ClassMeans


def blobs(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    labels = np.repeat(np.arange(4), 40)
    return random.standard_normal((160, 8)) + 4 * np.eye(8)[labels], labels


def layer(keeps: str = "quick", epochs: int = 5) -> AdaptedLayer:
    return AdaptedLayer(rate=0.05, epochs=epochs, inner=4, random=np.random.default_rng(1), keeps=keeps)


def test_gradients_are_those_of_autograd():
    random = np.random.default_rng(0)
    adapter, features, back = Bottleneck(5, 3, random), random.standard_normal((7, 5)), random.standard_normal((7, 5))
    adapter.up = random.standard_normal((5, 3))
    down, up = (torch.tensor(one, requires_grad=True) for one in (adapter.down, adapter.up))
    given = torch.tensor(features)
    found = given + torch.relu(given @ down.T) @ up.T
    found.backward(torch.tensor(back))
    assert adapter(features) == pytest.approx(found.detach().numpy())
    for mine, other in zip(adapter.gradients(features, back), (down.grad, up.grad), strict=True):
        assert mine == pytest.approx(other.numpy())


def test_it_begins_as_the_identity_and_learns_a_task():
    features, labels = blobs()
    assert Bottleneck(8, 4, np.random.default_rng(0))(features) == pytest.approx(features)
    head = layer()
    head.update(features, labels)
    assert (np.array(head.seen)[head.scores(features).argmax(axis=1)] == labels).mean() > 0.95


def test_the_slow_copy_moves_by_a_tenth_and_the_adapter_waits():
    features, labels = blobs()
    first = labels < 2
    head = layer("both", epochs=1)  # of one pass three fifths is the whole: the adapter waits throughout
    head.update(features[first], labels[first])
    before = head.adapter.copy()
    head.update(features[~first], labels[~first])
    assert (head.adapter.down == before.down).all() and (head.slow.up == before.up).all()
    head = layer("both", epochs=10)
    head.update(features[first], labels[first])
    before = head.adapter.copy()
    head.update(features[~first], labels[~first])
    whole, slow = (np.linalg.norm(one.up - before.up) for one in (head.adapter, head.slow))
    assert 0 < slow < 0.1 * whole
    one, other = layer("both", 10), layer("quick", 10)
    for each in (one, other):
        each.update(features, labels)
    assert (one.scores(features) == other.scores(features)).all(), "with one task there is no copy yet"


def test_means_beside_an_adapter_that_stays():
    features, labels = blobs()
    head = AdaptedMeans(rate=0.05, epochs=3, inner=4, random=np.random.default_rng(0))
    head.update(features[labels < 2], labels[labels < 2])
    adapter = head.layer.adapter.copy()
    head.update(features[labels >= 2], labels[labels >= 2])
    assert (head.layer.adapter.up == adapter.up).all() and head.seen == [0, 1, 2, 3]
    unadapted = AdaptedMeans(rate=1e-12, epochs=1, inner=4, random=np.random.default_rng(0))
    plain = ClassMeans("angle")
    for each in (unadapted, plain):
        each.update(features, labels)
    assert unadapted.scores(features) == pytest.approx(plain.scores(features)), "features twice have the angles of features"
