"""Learning rates at a multiple, and how often the training loss jumped."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest

from windtunnel.recipe import Phase
from windtunnel.slots import Progress
from windtunnel.train.run import fly
from windtunnel.train.spikes import spikes
from windtunnel.train.step import set_rates


@pytest.mark.parametrize("schedule", ["cosine", {"power": {"a": 1.0}}])
def test_every_group_has_its_rate_at_the_multiple_whatever_the_schedule(schedule):
    progress = Progress(step=5, steps=10, tokens=500, step_tokens=100, sequences=4, done=0.5, overall=0.5, phase=0)
    found = {}
    for multiple in (1.0, 0.5):
        phase = Phase.model_validate({"schedule": schedule, "rate_multiple": multiple})
        groups = [{"peak": 0.02, "lr": 0.0}, {"peak": 0.003, "lr": 0.0}]
        set_rates(SimpleNamespace(phase=phase, optimizer=SimpleNamespace(param_groups=groups)), progress)
        found[multiple] = [group["lr"] for group in groups]
    assert found[0.5] == pytest.approx([0.5 * rate for rate in found[1.0]]) and min(found[1.0]) > 0


def test_a_run_at_a_multiple_has_another_key_and_its_log_the_rate(tiny, stream, tmp_path):
    plain, double = tiny(budget={"steps": 2}), tiny(budget={"steps": 2}, rate_multiple=2.0)
    assert plain.identity() == tiny(budget={"steps": 2}, rate_multiple=1.0).identity() != double.identity()
    record = fly(double, 0, stream, tmp_path)
    assert record.finished and record.totals.spikes == 0
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert all(line["highest"] == line["loss"] for line in lines)  # so few steps have a line each
    peak = double.phases[0].model.learning_rate()
    assert lines[0]["learning_rate"] <= 2 * peak and max(line["learning_rate"] for line in lines) > peak


def falling(random: np.random.Generator, count: int = 120) -> np.ndarray:
    return 3 + 4 * np.exp(-np.arange(count) / 20) + 0.05 * random.standard_normal(count)


def test_spikes_are_counted_once_each_and_a_quiet_run_has_none():
    quiet = [spikes(falling(np.random.default_rng(seed))) for seed in range(200)]
    assert np.mean(quiet) < 0.02
    loss = falling(np.random.default_rng(0))
    loss[50:53] += 1.5
    loss[90] += 0.8
    assert spikes(loss) == 2 and spikes(loss[:10]) == 0
