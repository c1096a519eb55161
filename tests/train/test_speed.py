"""How fast a run is: what is told of its steps, and that the log and the loggers have it."""

from __future__ import annotations

import json
from itertools import accumulate
from types import SimpleNamespace

import pytest
import torch

from windtunnel.train import run, speed
from windtunnel.train.spend import Account


class Ticking:
    """A clock that goes on by the next of ``spans`` whenever it is asked."""

    def __init__(self, spans: list[float]) -> None:
        self.times = iter(accumulate(spans))

    def perf_counter(self) -> float:
        return next(self.times)


def test_speed_is_that_of_the_steps_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    # Made, then for each step: 5 s of something else, 1 s until the batch is there, and 3 s, in the last one 9 s, until it is made.
    monkeypatch.setattr(speed, "time", Ticking([0, *[5, 1, 3] * 3, 5, 1, 9]))
    meter, account = speed.Speedometer(torch.device("cpu")), Account(tokens=1000, flops=1e6)
    for _ in range(4):
        meter.drawn(account, dict)
        account.pay({"tokens": 55, "flops": 10.0})
        meter.made(account)
    found = meter.read()
    assert found["tokens_per_second"] == pytest.approx(4 * 55 / 22)
    assert (found["step_seconds"], found["step_seconds_95"]) == (4.0, 10.0)
    assert found["data_share"] == pytest.approx(4 / 22) and found["memory_bytes"] > 1e6
    assert "mfu" not in found, "the peak of a processor is in no data sheet"
    assert meter.read() == {}, "no step since"


def test_the_share_of_the_peak_is_that_of_all_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "time", Ticking([0, 0, 0, 2]))
    monkeypatch.setattr(speed, "ranks", SimpleNamespace(count=lambda: 2))
    meter, account = speed.Speedometer(torch.device("cpu")), Account()
    meter.peak = 1e12
    meter.drawn(account, dict)
    account.pay({"flops": 1e12})
    meter.made(account)
    assert meter.read()["mfu"] == pytest.approx(1e12 / 2 / 2e12)


def test_lines_and_loggers_tell_the_speed(tiny, stream, tmp_path, monkeypatch):
    told = []
    listener = SimpleNamespace(log=lambda step, numbers: told.append(numbers), close=lambda: None)
    monkeypatch.setattr("windtunnel.train.loggers.make_logger", lambda *_: listener)
    record = run.fly(tiny(budget={"steps": 4}), 0, stream, tmp_path / "run", loggers=("any",))
    assert record["status"] == "finished", record["traceback"]
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [line["done"] for line in lines] == [line["step"] / 4 for line in lines] and lines[-1]["done"] == 1
    for line in lines:
        assert line["speed"]["tokens_per_second"] > 0 and 0 <= line["speed"]["data_share"] <= 1
        assert 0 < line["speed"]["step_seconds"] <= line["speed"]["step_seconds_95"]
    trained = [numbers for numbers in told if "loss" in numbers]
    assert len(trained) == len(lines) and all(numbers["speed/tokens_per_second"] > 0 for numbers in trained)
