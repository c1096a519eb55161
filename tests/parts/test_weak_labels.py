"""Weak labels: arms of one seed meet the same, right ones are the ceiling, and own answers keep the shares of the classes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from windtunnel.core.errors import UserError
from windtunnel.parts.experiment.weak_labels import WeakLabels, _cross_entropy, hardened


def test_own_answers_are_made_hard_at_the_shares_of_the_classes():
    own = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.6, 0.4]])
    half = torch.tensor([[0.5, 0.5]]).repeat(4, 1)
    assert hardened(own, half).tolist() == [[1, 0], [1, 0], [0, 1], [0, 1]], "two are the second class, though each leans to the first"
    assert hardened(own, torch.tensor([[0.75, 0.25]]).repeat(4, 1)).sum(dim=0).tolist() == [3, 1]


def test_arms_meet_the_same_supervisor_and_ceiling():
    plain, confident = (WeakLabels(pretraining=2, steps=5, confidence=share).measure(80) for share in (0.0, 0.75))
    assert plain["weak"] == confident["weak"] and plain["ceiling"] == confident["ceiling"]
    assert plain["accuracy"] != confident["accuracy"]
    for found in (plain, confident):
        assert found["recovered"] == pytest.approx((found["accuracy"] - found["weak"]) / max(found["ceiling"] - found["weak"], 1e-6))


def test_right_labels_alone_are_the_ceiling_and_come_after_the_weak():
    found = WeakLabels(pretraining=2, steps=40, weak=0, right=300).measure(80)
    assert found["accuracy"] == found["ceiling"] > found["weak"]
    both = WeakLabels(pretraining=2, steps=40, weak=300, right=300).measure(80)
    assert both["accuracy"] > WeakLabels(pretraining=2, steps=40, weak=300).measure(80)["accuracy"]
    with pytest.raises(UserError, match="more than the"):
        WeakLabels(pretraining=2, weak=1000, right=300).measure(80)


@pytest.mark.parametrize("kind", ["weak", "right"])
def test_stopping_keeps_the_head_that_fits_held_out_labels_of_either_kind(kind):
    random = np.random.default_rng(0)
    features = torch.from_numpy(random.standard_normal((60, 128))).float()
    places, wanted = np.arange(60), np.eye(10)[random.integers(10, size=60)]
    stages = {
        "weak": [(places, wanted, 0.0), (places[:0], wanted[:0], 0.0)],
        "right": [(places[:0], wanted[:0], 0.0), (places, wanted, 0.0)],
    }
    last, stopped = (WeakLabels(steps=30, rate=0.1, stops=stops)._taught(features, stages[kind], 0) for stops in (False, True))
    judged, target = features[:12], torch.from_numpy(wanted[:12]).float()
    assert _cross_entropy(stopped(judged), target) < _cross_entropy(last(judged), target)
