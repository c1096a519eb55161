"""Devices that learn one after the other from streams."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from windtunnel.parts.experiment.streamed_tasks import StreamedTasks, forward, stream


def test_a_stream_is_one_step_down_for_each_sample():
    random = np.random.default_rng(0)
    weights = [random.standard_normal(shape) for shape in ((1, 4), (4,), (4, 3), (3,), (3, 1), (1,))]
    inputs, outputs = random.standard_normal((2, 1)), random.standard_normal((2, 1))
    held = [torch.tensor(one, requires_grad=True) for one in weights]
    for one, wanted in zip(inputs, outputs, strict=True):
        found = torch.tensor(one[None] / 5)
        for place in (0, 2, 4):
            found = found @ held[place] + held[place + 1]
            found = torch.relu(found) if place < 4 else found
        loss = (found - torch.tensor(wanted)).square().sum()
        slopes = torch.autograd.grad(loss, held)
        norm = float(sum(slope.square().sum() for slope in slopes).sqrt())
        held = [(each - 0.01 * min(1, 10 / norm) * slope).detach().requires_grad_() for each, slope in zip(held, slopes, strict=True)]
    for one, other in zip(stream(weights, inputs, outputs, 0.01), held, strict=True):
        assert one == pytest.approx(other.detach().numpy())
    assert forward(weights, inputs)[-1].shape == (2, 1)


def test_weights_that_devices_have_taught_learn_a_new_one_faster_than_those_of_all_at_once():
    reptile, joint = (StreamedTasks(begin=begin, devices=150, tested=15).measure(80) for begin in ("reptile", "joint"))
    assert reptile["error"] < 0.8 * joint["error"] and reptile["error"] < reptile["before"]
    assert StreamedTasks(begin="random", devices=1, tested=10).measure(80)["error"] > reptile["error"]
