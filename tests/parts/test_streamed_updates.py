"""Updates for one task after the other."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from windtunnel.parts.experiment.streamed_updates import StreamedUpdates, descend, information, transfer


def test_measures_of_a_table_made_by_hand():
    table = np.array([[0.9, 0.1, 0.0], [0.5, 0.8, 0.2], [0.4, 0.7, 1.0]])
    found = transfer(table, np.array([0.6, 0.5, 0.7]))
    assert found["forward"] == pytest.approx(0.6) and found["forgetting"] == pytest.approx((0.4 + 0.5 + 0.1) / 3)
    assert found["area"] == pytest.approx(((0.6 + 0.5 + 0.4) / 3 + (0.5 + 0.7) / 2 + 0.7) / 3)


def test_the_fisher_matrix_and_a_step_are_those_of_the_loss():
    random = np.random.default_rng(0)
    weight, inputs, labels = random.standard_normal((4, 3)), random.standard_normal((6, 3)), random.integers(4, size=6)
    total = np.zeros((4, 3))
    for one, label in zip(inputs, labels, strict=True):
        held = torch.tensor(weight, requires_grad=True)
        torch.nn.functional.cross_entropy((held @ torch.tensor(one))[None], torch.tensor([label])).backward()
        total += held.grad.numpy() ** 2
    assert information(weight, (inputs, labels)) == pytest.approx(total / 6)
    one = (np.repeat(inputs[:1], 2, axis=0), np.repeat(labels[:1], 2))
    held = torch.tensor(weight, requires_grad=True)
    torch.nn.functional.cross_entropy((held @ torch.tensor(inputs[0]))[None], torch.tensor([labels[0]])).backward()
    assert descend(weight, one, 1, 0.1, random) == pytest.approx(weight - 0.1 * held.grad.numpy())
    assert descend(weight, one, 5, 0.1, random, hold=(np.full((4, 3), 1e9), weight)) == pytest.approx(weight, abs=1e-6)


def test_new_classes_are_forgotten_without_a_memory():
    plain, replay = (StreamedUpdates(tasks="classes", way=way, rates=(0.1,), width=64).measure(80) for way in ("sequential", "replay"))
    assert replay["accumulated"] > plain["accumulated"] + 0.1 and replay["forgetting"] < plain["forgetting"]
