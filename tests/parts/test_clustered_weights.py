"""Clusters of weights in training."""

from __future__ import annotations

import torch

from windtunnel.parts.experiment.clustered_weights import ClusteredWeights, clustered, lloyd, quantiles


def test_a_table_of_different_values_gives_the_same_weights_and_gradients():
    weight = torch.randn(40, 50, generator=torch.Generator().manual_seed(0)).bfloat16()
    assert len(torch.unique(weight)) < weight.numel()
    found, kept = [], []
    for table in (False, True):
        held, bytes_kept = weight.clone().float().requires_grad_(), []
        soft, middle = clustered(held, quantiles(weight.float(), 3), 0.1, 2, table, bytes_kept)
        (soft * torch.arange(2000.0).view(40, 50).sin()).sum().backward()
        found.append((soft.detach(), middle, held.grad))
        kept.append(sum(bytes_kept))
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True)) and kept[1] < kept[0] / 1.5


def test_k_means_finds_planted_values():
    planted = torch.tensor([-1.0, 0.2, 0.9, 2.0])
    weight = planted[torch.randint(4, (400,), generator=torch.Generator().manual_seed(0))] + 0.01 * torch.randn(400)
    assert torch.allclose(lloyd(weight, quantiles(weight, 2)), planted, atol=0.01)


def test_networks_have_so_many_values_and_work():
    knobs = {"training": 80, "steps": 15, "width": 24}
    few, many = (ClusteredWeights(bits=bits, **knobs).measure(80) for bits in (1, 4))
    assert many["accuracy"] > few["accuracy"] and many["dense"] - many["accuracy"] < 0.15 and many["kept"] > 1
