"""Tags of tiles, steps of tasks, and images made by way of features."""

from __future__ import annotations

import numpy as np
import torch

from windtunnel.parts.experiment.feature_samples import FeatureSamples
from windtunnel.parts.experiment.tagged_tiles import TaggedTiles
from windtunnel.parts.experiment.task_steps import TaskSteps


def test_a_tile_is_found_by_its_tag():
    found = {tags: TaggedTiles(tags=tags, steps=100, tiles=3).measure(80)["answered"] for tags in ("none", "text")}
    assert found["text"] > found["none"] + 0.2


def test_a_step_is_of_one_task_or_of_all():
    for steps_of, wanted in (("one", [(0, 48), (1, 48), (2, 48)]), ("mixed", [(0, 16), (1, 16), (2, 16)] * 3)):
        seen: list[tuple[int, int]] = []
        weight = torch.nn.Parameter(torch.ones(2))

        def loss(task: int, rows: torch.Tensor, seen: list[tuple[int, int]] = seen, weight: torch.nn.Parameter = weight) -> torch.Tensor:
            seen.append((task, len(rows)))
            return weight.sum() * (task + 1)

        TaskSteps(steps_of=steps_of, steps=3)._learned([weight], loss, np.random.default_rng(0))
        assert seen == wanted


def test_balanced_gradients_have_one_length():
    lengths = []
    weight = torch.nn.Parameter(torch.ones(1))
    TaskSteps(steps_of="balanced", steps=3)._learned([weight], lambda task, rows: weight.sum() * 10.0**task, np.random.default_rng(0))
    lengths.append(float(weight.grad.norm()))
    assert abs(lengths[0] - 1) < 1e-5


def test_captions_are_shown_in_what_is_made():
    found = FeatureSamples(target="towers", steps=150, pairs=600).measure(80)
    assert found["shown"] > 0.5 and found["spread"] > 0.05
    assert FeatureSamples(target="towers-mean", steps=2, pairs=600).measure(80)["spread"] == 0
