"""Matched inputs: images are enlarged and normalised as said, and features are worth more where they are given as they were."""

from __future__ import annotations

import pytest
import torch

from windtunnel.core.registry import make
from windtunnel.parts.experiment.matched_inputs import DEVIATION, LEVEL, SIDE, enlarged, normalised
from windtunnel.slots import Experiment


def test_images_are_given_as_in_pre_training():
    images = torch.arange(128.0).view(2, 1, 8, 8)
    large = enlarged(images)
    assert large.shape == (2, 1, SIDE, SIDE) and large[0, 0, 0, 0] == 0 and float(large.max()) == 127
    given = normalised(large * 255)
    assert float(given.mean()) == pytest.approx(LEVEL, abs=1e-5) and float(given.std()) == pytest.approx(DEVIATION, abs=1e-5)


def test_features_are_worth_more_given_as_they_were():
    def accuracy(**knobs: object) -> float:
        return make(Experiment, {"matched-inputs": {"steps": 40, **knobs}}).measure(0)["accuracy"]

    matched = accuracy()
    assert matched > accuracy(resized=False) + 0.05 and matched > accuracy(features="statistics") + 0.2
