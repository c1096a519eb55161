"""Objectives that compare the images of a step with each other: two-view and look, also over several ranks, and views of images."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest
import torch

from windtunnel.core.errors import PartError
from windtunnel.core.registry import make
from windtunnel.kits import gather
from windtunnel.kits.image.pixels import Images
from windtunnel.kits.image.views import cropped, lit, moved
from windtunnel.kits.neighbours import neighbour_loss
from windtunnel.models.init import config_for, fresh
from windtunnel.models.settings import ModelSettings
from windtunnel.slots import Evaluation, Objective

FACTS = Images(8, 1, np.array([0.5], np.float32), np.array([0.25], np.float32), 3)


def embedder() -> Any:
    settings = ModelSettings.model_validate({"family": "vit", "head": "embed", "layers": 1, "width": 16, "heads": 2, "patch": 2})
    return fresh(config_for(settings, FACTS, 4), 0).eval()


def image_rows(sequences: int = 4, images: int = 3) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    documents = np.tile(np.arange(images), (sequences, 1))
    documents[-1, -1] = -1
    label = random.integers(0, 3, (sequences, images))
    label[0, 0] = -1
    return {"pixels": random.integers(0, 256, (sequences, images, 1, 8, 8)).astype(np.uint8), "label": label, "documents": documents}


def prepared_images(objective: Objective, rows: dict[str, np.ndarray] | None = None) -> dict[str, torch.Tensor]:
    batch = objective.prepare(rows or image_rows(), FACTS, np.random.default_rng(1))
    return {key: torch.from_numpy(np.ascontiguousarray(value)) for key, value in batch.items()}


def test_views_without_strength_are_the_images_themselves() -> None:
    images = np.random.default_rng(0).normal(size=(2, 3, 1, 8, 8)).astype(np.float32)
    random = np.random.default_rng(1)
    assert np.allclose(cropped(images, random, 1.0), images, atol=1e-5)
    assert np.array_equal(moved(images, random, 0, False), images) and np.array_equal(lit(images, random, 0.0), images)
    ramp = np.broadcast_to(np.arange(8, dtype=np.float32), (4, 1, 8, 8))
    cut = cropped(ramp, random, 0.3)
    steps = np.diff(cut, axis=3)
    assert np.allclose(steps, steps[:, :, :1, :1], atol=1e-5) and (steps > np.sqrt(0.3) - 1e-5).all() and (steps < 1).all()
    assert len(np.unique(steps.mean(axis=(1, 2, 3)).round(4))) == 4, "each image is cut by itself"


def test_two_views_are_compared_as_simclr_compares_them() -> None:
    objective = make(Objective, {"two-view": {"temperature": 0.2}})
    batch, model = prepared_images(objective), embedder()
    assert not torch.equal(batch["pixels"][:, :, 0], batch["pixels"][:, :, 1])
    loss = objective.loss(model, batch)
    assert loss.counts.sum() == 22 and torch.isfinite(loss.values).all()
    vectors = torch.nn.functional.normalize(loss.outputs.pooler_output, dim=-1)[:22]
    alike = torch.exp(vectors @ vectors.T / 0.2)
    for view in range(22):
        others = alike[view].sum() - alike[view, view]
        expected = -torch.log(alike[view, view ^ 1] / others)
        assert torch.allclose(loss.values.flatten()[view], expected, atol=1e-5)
    with pytest.raises(PartError, match="a step holds one image"):
        objective.loss(model, {name: value[:1, :1] for name, value in batch.items()})


def test_look_is_what_neighbourhood_components_analysis_maximises() -> None:
    """With all neighbours, temperature 1/2 and vectors of length 1: their distances are then 2 - 2 cosines."""
    analysis = pytest.importorskip("sklearn.neighbors").NeighborhoodComponentsAnalysis
    random = np.random.default_rng(0)
    vectors = random.normal(size=(12, 5))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    classes = random.integers(0, 3, 12)
    same = classes[:, None] == classes[None]
    found = neighbour_loss(torch.from_numpy(vectors @ vectors.T / 0.5), torch.from_numpy(same), ~torch.eye(12, dtype=torch.bool), None)
    theirs = analysis()
    theirs.n_iter_ = 0
    total, _ = theirs._loss_grad_lbfgs(np.eye(5), vectors, same, 1.0)
    assert float(torch.exp(-found).sum()) == pytest.approx(total, rel=1e-9)


def test_look_counts_near_neighbours_and_always_the_best_of_the_class() -> None:
    scores = torch.tensor([[9.0, 1.0, 2.0, 3.0]], requires_grad=True)
    voting = torch.tensor([[False, True, True, True]])
    right = torch.tensor([[True, True, False, False]])
    found = neighbour_loss(scores, right, voting, 1)
    assert float(found.detach()) == pytest.approx(float(np.log(np.exp(1) + np.exp(3)) - 1), rel=1e-6), "the nearest, and its own best"
    found.sum().backward()
    assert scores.grad is not None and scores.grad[0, [0, 2]].tolist() == [0, 0] and scores.grad[0, 1] < 0
    batch = prepared_images(make(Objective, "look"))
    assert batch["labels"][0, 0] == -100 and batch["classes"][0, 0] == -1 and batch["classes"][-1, -1] == -1
    lonely = image_rows() | {"label": np.arange(12).reshape(4, 3)}
    assert (prepared_images(make(Objective, "look"), lonely)["labels"] == -100).all(), "a step without a pair counts nothing"
    assert not make(Evaluation, "labels").measures(make(Objective, "look")), "which names no class"
    with pytest.raises(PartError, match="no image of this step has a label"):
        prepared_images(make(Objective, "look"), image_rows() | {"label": np.full((4, 3), -1)})


def both_ranks(name: str, rank: int, folder: str) -> None:
    """One of two ranks: the loss and gradients of its half of the batch, added over both, written by the first."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/{name}-meet", rank=rank, world_size=2)
    total, gradients = shared_out(name, slice(2 * rank, 2 * rank + 2))
    for value in (total, *gradients):
        torch.distributed.all_reduce(value)
    if not rank:
        with gather.alone():  # it would wait for the other for ever
            measured, _ = shared_out(name, slice(0, 4))
        torch.save([measured, total, *gradients], f"{folder}/{name}.pt")
    torch.distributed.destroy_process_group()


def shared_out(name: str, own: slice) -> tuple[torch.Tensor, list[torch.Tensor]]:
    objective, model = make(Objective, name), embedder()
    batch = prepared_images(objective)
    targets = (batch["labels"] != -100).sum()
    loss = objective.loss(model, {key: value[own] for key, value in batch.items()})
    value = (loss.values * loss.counts).sum() / targets
    value.backward()
    return value.detach(), [torch.zeros_like(weight) if weight.grad is None else weight.grad for weight in model.parameters()]


@pytest.mark.parametrize("name", ["two-view", "look"])
def test_two_ranks_have_the_loss_and_the_gradient_of_one(name: str, tmp_path: Any) -> None:
    children = []
    for rank in range(2):
        child = os.fork()  # a process that has torch already
        if not child:
            try:
                both_ranks(name, rank, str(tmp_path))
            finally:
                os._exit(0)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)
    measured, total, *gradients = torch.load(tmp_path / f"{name}.pt")
    value, alone = shared_out(name, slice(0, 4))
    assert torch.allclose(total, value, atol=1e-6) and torch.equal(measured, value)
    assert max(float((one - two).abs().max()) for one, two in zip(gradients, alone, strict=True)) < 1e-6
    assert gather.first_row(4) == 0
