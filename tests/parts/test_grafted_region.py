"""Grafted regions: what is taken of a tuned model, and how well it is calibrated."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from windtunnel.core.registry import make
from windtunnel.parts.experiment.grafted_region import calibration, grafted
from windtunnel.slots import Experiment

pytest.importorskip("sklearn")


def test_a_learned_region_finds_the_weights_that_were_planted() -> None:
    """Of two inputs the tuned model has learned to read the second; a large change of a weight that reads nothing is no part of it."""
    model = torch.nn.Sequential(torch.nn.Linear(3, 2, bias=False))
    first: Any = {"0.weight": torch.tensor([[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0]])}
    tuned: Any = {"0.weight": torch.tensor([[1.0, 4.0, 9.0], [-1.0, -4.0, 0.0]])}
    random = np.random.default_rng(0)
    inputs = torch.from_numpy(random.standard_normal((600, 3))).float()
    inputs[:, 2] = 0
    labels = (inputs[:, 1] < 0).long()
    given = (model, first, tuned, inputs, labels, random)
    top, learned = (
        make(Experiment, {"grafted-region": {"region": region, "density": 0.1, "mask_rate": 3e4}}) for region in ("top", "learned")
    )
    assert top._region(*given)["0.weight"].tolist() == [[0, 0, 1], [0, 0, 0]]
    found = learned._region(*given)["0.weight"]
    assert found[:, 1].max() == 1 and found[:, 0].sum() == 0, "a weight that reads the second input"


def test_all_weights_recover_all_and_confidence_is_judged() -> None:
    first, tuned = {"w": torch.zeros(2)}, {"w": torch.ones(2)}
    assert grafted(first, tuned, {"w": torch.tensor([0.0, 1.0])})["w"].tolist() == [0, 1]
    knobs = {"region": "top", "density": 1.0, "steps": 60, "tuning": 60, "width": 16, "rate": 0.3}
    found = make(Experiment, {"grafted-region": knobs}).measure(0)
    assert found["recovered"] == pytest.approx(1) and found["density"] == 1 and found["accuracy"] == found["tuned"] > 0.2
    shares = np.array([[0.75, 0.25], [0.75, 0.25], [0.25, 0.75], [0.45, 0.55]])
    accuracy, error = calibration(shares, np.array([0, 1, 1, 0]))
    assert accuracy == 0.5 and error == pytest.approx((abs(2 - 2.25) + 0.55) / 4)
