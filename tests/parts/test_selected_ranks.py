"""Ranks that are chosen while they are learned."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from windtunnel.kits.subspaces import subspaces
from windtunnel.parts.experiment.selected_ranks import SelectedRanks


def test_without_a_threshold_all_ranks_are_left_and_with_a_high_one_few():
    none, high = (SelectedRanks(threshold=threshold).measure(80) for threshold in (0.0, 3.0))
    assert none["rank"] == 16 and high["rank"] < 8
    assert SelectedRanks(ranks="cut", threshold=3.0).measure(80)["rank"] == high["rank"]


def test_steps_are_down_the_squared_error():
    random = np.random.default_rng(0)
    shown, wanted = random.standard_normal((20, 6)), random.standard_normal((20, 6))
    part = SelectedRanks(steps=2, width=6, inside=3, shared=1)
    few, _ = part._trained(shown, wanted, 2, "all", 1e-3, np.random.default_rng(1))
    more, _ = part.model_copy(update={"steps": 300})._trained(shown, wanted, 2, "all", 0.05, np.random.default_rng(1))
    assert ((shown @ more.T - wanted) ** 2).sum() < ((shown @ few.T - wanted) ** 2).sum()
    whole = np.linalg.lstsq(shown, wanted, rcond=None)[0].T
    many, _ = part.model_copy(update={"steps": 3000})._trained(shown, wanted, 6, "all", 0.2, np.random.default_rng(1))
    assert many == pytest.approx(whole, abs=0.05)


def test_what_the_old_task_does_not_share_is_not_touched():
    apart = SelectedRanks(ranks="all", shared=0).measure(80)
    assert apart["old"] < 0.2 < SelectedRanks(ranks="all", shared=24).measure(80)["old"]


def test_tasks_that_do_not_fit_are_refused():
    with pytest.raises(ValidationError, match="cannot share 25"):
        SelectedRanks(shared=25)
    with pytest.raises(ValidationError, match="do not fit into 48"):
        SelectedRanks(inside=30, shared=2)


def test_subspaces_share_as_many_dimensions_as_said():
    one, two = subspaces(5, 2, 9, np.random.default_rng(0))
    assert one.T @ one == pytest.approx(np.eye(5)) and two.T @ two == pytest.approx(np.eye(5))
    assert np.linalg.svd(one.T @ two)[1] == pytest.approx([1, 1, 0, 0, 0], abs=1e-9)
