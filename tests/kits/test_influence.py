"""Influence is the cosine of gradients that are held whole elsewhere; clusters are tried as bandits do, and known good ones are kept."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from tiny_models import build, moved

from windtunnel.core.errors import PartError
from windtunnel.kits.text.bandit import choose
from windtunnel.kits.text.influence import Influence, _solved
from windtunnel.kits.text.judged import losses_of, padded
from windtunnel.models.anatomy import linears

TARGET = [[0, 9, 8, 7, 6], [0, 5, 9, 8]]
POOL = [[0, 11, 12, 13, 14, 15, 16], [0, 21, 22, 23], [0, 9, 8, 31]]


def gradient(model, numbers: list[int]) -> dict[str, torch.Tensor]:
    """Of the mean loss of one document in every matrix, [out, in]."""
    matrices = {name: module.weight for name, module in linears(model).items()}
    for weight in matrices.values():
        weight.requires_grad_(True)
    losses, counts = losses_of(model, *padded([numbers], "cpu"))
    found = torch.autograd.grad(losses.sum() / counts.sum(), list(matrices.values()))
    for weight in matrices.values():
        weight.requires_grad_(False)
    return {name: one if one.shape == matrices[name].shape else one.T for name, one in zip(matrices, found, strict=True)}


@pytest.fixture(scope="module")
def frozen():
    return moved(build("llama")).eval().requires_grad_(False)


def cosine(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    dot = sum(float((one[name].double() * other[name].double()).sum()) for name in one)
    return dot / math.sqrt(
        sum(float((a.double() ** 2).sum()) for a in one.values()) * sum(float((b.double() ** 2).sum()) for b in other.values())
    )


def test_without_curvature_it_is_the_cosine_of_gradients(frozen) -> None:
    before = [weight.clone() for weight in frozen.parameters()]
    whole = [gradient(frozen, numbers) for numbers in TARGET]
    wanted = {name: whole[0][name] + whole[1][name] for name in whole[0]}
    expected = [cosine(wanted, gradient(frozen, numbers)) for numbers in POOL]
    found = Influence(frozen, TARGET, None, batch=2)
    assert found.of(POOL) == pytest.approx(expected, abs=1e-4)
    assert found.of([POOL[0]]) == pytest.approx(expected[:1], abs=1e-4), "what stands beside a document changes its influence"
    assert found.of([[0]]) == [0.0]
    assert all(torch.equal(one, other) for one, other in zip(before, frozen.parameters(), strict=True))
    assert not any(weight.requires_grad or weight.grad is not None for weight in frozen.parameters())


def test_curvature_turns_the_direction_by_what_goes_in_and_what_comes_back(frozen) -> None:
    plain, turned = Influence(frozen, TARGET, None), Influence(frozen, TARGET, POOL, damping=0.3)
    moments: dict[str, list[torch.Tensor]] = {}
    for document in POOL:
        for flows in plain._flows([document]):
            for name, pair in flows.items():
                found = [torch.einsum("bti,btj->ij", one, one).double() for one in pair]
                moments[name] = [one + other for one, other in zip(moments.get(name, (0.0, 0.0)), found, strict=True)]
    inverse = {
        name: [torch.linalg.inv(one + 0.3 * one.diagonal().mean() * torch.eye(len(one))) for one in pair] for name, pair in moments.items()
    }
    expected = {name: inverse[name][1] @ plain.direction[name].double() @ inverse[name][0] for name in moments}
    levels = [float(outer.diagonal().mean() * inner.diagonal().mean()) for inner, outer in moments.values()]
    assert max(levels) > 10 * min(levels), "the matrices are of one scale, so that it would not show"
    assert cosine(expected, turned.direction) == pytest.approx(1.0, abs=1e-4)
    assert turned.of(POOL) != pytest.approx(plain.of(POOL), abs=1e-3)


def test_padding_has_no_part_in_it(frozen) -> None:
    alone, beside = (Influence(frozen, TARGET, POOL, batch=batch) for batch in (1, 3))
    assert cosine(alone.direction, beside.direction) == pytest.approx(1.0, abs=1e-6)
    assert alone.of(POOL) == pytest.approx(beside.of(POOL), abs=1e-4)


def test_a_matrix_through_which_the_pool_sends_nothing_has_no_part_in_it() -> None:
    one = torch.eye(2)
    assert _solved(one * 0, one, one, 0.1).tolist() == [[0, 0], [0, 0]]
    assert _solved(one * 2e-18, one * 4, one, 1.0)[0, 0].item() == pytest.approx(1 / (4e-18 * 8))


def chosen(level: list[float], keep: float = 0.3, **knobs):
    """Of 100 documents of ten characters in each cluster, whose influence is that of the cluster and some noise."""
    random = np.random.default_rng(3)
    cluster = np.repeat(np.arange(len(level)), 100)
    noise, asked = random.normal(0, 0.3, len(cluster)), []

    def influence(places):
        asked.extend(places)
        return [level[cluster[place]] + noise[place] for place in places]

    how = {"sample": 5, "block": 10, "explore": 0.3, **knobs}
    found = choose(cluster, np.full(len(cluster), 10), influence, keep=keep, random=random, **how)
    assert len(asked) == len(set(asked)) == found.read, "a document was read twice"
    return found, np.bincount(cluster[found.stays], minlength=len(level))


def test_good_clusters_are_kept_and_most_documents_are_never_read() -> None:
    found, kept = chosen([1.0, -1.0, 0.8, -0.5, -0.8])
    assert kept.sum() == 150 and kept[[0, 2]].sum() >= 140 and found.read < 150
    assert list(np.argsort(-found.means)[:2]) == [0, 2]


def test_exploring_spreads_the_choice_over_good_clusters() -> None:
    _, greedy = chosen([1.0, 0.6, -1.0, -1.0], keep=0.25, explore=0.0)
    _, curious = chosen([1.0, 0.6, -1.0, -1.0], keep=0.25, explore=2.0)
    assert greedy[0] > curious[0] > 0 and curious[1] > greedy[1] and curious[2:].sum() <= 10


def test_what_is_left_fills_up_and_what_is_no_number_is_refused() -> None:
    found, kept = chosen([0.0], keep=1.0)
    assert kept.tolist() == [100] and found.stays.all()
    with pytest.raises(PartError, match="of 5 documents is not a number"):
        chosen([1.0, math.nan])
