"""Students of two towers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from windtunnel.parts.experiment.stored_teachers import StoredTeachers, towards
from windtunnel.parts.experiment.taught_by_names import TaughtByNames


def test_the_loss_towards_teachers_is_least_at_their_own_similarities():
    random = torch.Generator().manual_seed(0)
    one, other = (torch.nn.functional.normalize(torch.randn(6, 4, generator=random, dtype=torch.float64), dim=1) for _ in range(2))
    own = (5 * one @ other.T).requires_grad_()
    loss = towards([(one, other)], own, 5.0)
    assert float(torch.autograd.grad(loss, own)[0].abs().max()) < 1e-12
    wanted = (5 * one @ other.T).softmax(dim=1)
    columns = (5 * one @ other.T).softmax(dim=0)
    entropy = -((wanted * wanted.log()).sum(dim=1).mean() + (columns * columns.log()).sum(dim=0).mean()) / 2
    assert float(loss.detach()) == pytest.approx(float(entropy))


def test_several_teachers_are_averaged_after_their_softmax():
    first, second = torch.eye(2, dtype=torch.float64), torch.tensor([[0.0, 1.0], [1.0, 0.0]], dtype=torch.float64)
    logits = torch.zeros(2, 2, dtype=torch.float64)
    assert float(towards([(first, first), (first, second)], logits, 3.0)) == pytest.approx(np.log(2))


def test_what_is_stored_is_what_a_teacher_says():
    found = StoredTeachers(weight=1.0, pairs=200, known=300, teacher_steps=40, steps=60).measure(80)
    assert found["stored_gap"] < 1e-6 and found["named"] > StoredTeachers(pairs=200, steps=60).measure(80)["named"]


def test_each_loss_draws_to_what_it_names():
    ends, vectors = torch.eye(3, dtype=torch.float64), torch.eye(3, dtype=torch.float64)[[1, 2]]
    found, labels = torch.tensor([[0.0, 2, 0], [0, 0, 5]], dtype=torch.float64), torch.tensor([0, 2])
    assert float(TaughtByNames(loss="both", share=1.0).distance(found, labels, ends, vectors)) == pytest.approx(-1)
    assert float(TaughtByNames(loss="names").distance(found, labels, ends, vectors)) == pytest.approx(-0.5)
    assert float(TaughtByNames(loss="both").distance(found, labels, ends, vectors)) == pytest.approx(-0.75)
    with_labels = TaughtByNames(loss="logits").distance(found, labels, ends, vectors)
    assert float(with_labels) != pytest.approx(float(TaughtByNames(loss="labels").distance(found, labels, ends, vectors)))


def test_a_teacher_helps_in_a_style_that_labels_lack():
    unseen = {loss: TaughtByNames(loss=loss, steps=100).measure(80)["unseen"] for loss in ("labels", "both")}
    assert unseen["both"] > unseen["labels"]
