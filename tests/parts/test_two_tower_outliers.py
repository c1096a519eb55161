"""Two towers tuned with a weaker partition."""

from __future__ import annotations

import pytest
import torch

from windtunnel.parts.experiment.two_tower_outliers import TwoTowerOutliers


def test_without_a_pull_it_is_cross_entropy_and_with_one_matched_pairs_are_pulled_for_ever():
    logits = torch.randn(6, 6, generator=torch.Generator().manual_seed(0))
    assert TwoTowerOutliers().loss(logits) == pytest.approx(torch.nn.functional.cross_entropy(logits, torch.arange(6)))
    sure = (100 * torch.eye(4)).requires_grad_()  # nothing is left for cross entropy to do
    TwoTowerOutliers(pull=0.1).loss(sure).backward()
    assert torch.diagonal(sure.grad) == pytest.approx([-0.1 / 4] * 4, abs=1e-6)


def test_a_batch_larger_than_the_task_holds_all_of_it():
    assert TwoTowerOutliers(steps=1, batch=5000).measure(70)["accuracy"] > 0.5


def test_the_pull_closes_the_gap():
    before, plain, pulled = (TwoTowerOutliers(steps=steps, pull=pull).measure(70) for steps, pull in ((0, 0.0), (80, 0.0), (80, 0.3)))
    assert before["gap"] > 0.5 and pulled["gap"] < 0.6 * plain["gap"]
    assert plain["accuracy"] > 0.9 and 0.5 < plain["auroc"] < 1
