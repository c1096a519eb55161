"""What tells a policy of its task, and paths learned in stages."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from windtunnel.core.errors import PartError
from windtunnel.parts.experiment.staged_forecast import StagedForecast, drawn_paths, relative
from windtunnel.parts.experiment.task_context import TaskContext, step


def test_the_worst_segment_is_the_one_foretold_worst():
    part, data = TaskContext(told="worst", segment=2), np.zeros((1, 8, 5))
    data[0, :, 0] = np.arange(8)
    data[0, 5, 4] = 9.0  # a reward that nobody foretells
    chosen = part._chosen(lambda past: past[:, :1] * 0, lambda inputs: inputs[:, :1] * 0, data, np.random.default_rng(0))
    assert chosen.view(2, 5)[:, 0].tolist() == [4.0, 5.0]


def test_walks_hold_what_was_done_and_paid():
    part, goals = TaskContext(), np.array([[1.0, 0.0]])
    walked = part._walked(goals, lambda place, past: step(place, goals), np.random.default_rng(0), noise=0.0)
    assert walked.shape == (1, 25, 5)
    assert walked[0, 1:, :2] == pytest.approx(walked[0, :-1, :2] + walked[0, :-1, 2:4])
    assert walked[0, -1, 4] == pytest.approx(-np.linalg.norm(walked[0, -1, :2] + walked[0, -1, 2:4] - goals[0]))
    assert walked[0, -1, 4] > -0.1, "it has gone there"


def test_who_knows_the_goal_earns_more():
    found = {told: TaskContext(told=told, steps=150, walks=2).measure(80)["return"] for told in ("nothing", "goal")}
    assert found["goal"] > found["nothing"] + 0.3


def test_paths_are_smooth_and_told_from_where_they_stand():
    paths = drawn_paths(np.random.default_rng(0), 100, 0.0)
    lengths = np.linalg.norm(np.diff(paths, axis=1), axis=2)
    assert np.isfinite(paths).all() and lengths.max() < 0.21
    seen, future = relative(torch.from_numpy(paths))
    assert seen[:, -2:].abs().max() == 0 and torch.allclose(future[:, 0], torch.from_numpy(paths[:, 8] - paths[:, 7]))


def test_stages_have_names_and_distillation_holds_features():
    with pytest.raises(PartError, match="the last one is all"):
        StagedForecast(stages=("all", "next")).measure(0)
    near = {held: StagedForecast(stages=("next", "all"), distill=held, steps=300).measure(80)["next"] for held in (False, True)}
    assert near[True] < near[False]
