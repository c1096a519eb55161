"""The formula of Skill-it, by hand."""

from __future__ import annotations

import math

import pytest

from windtunnel.core.registry import make
from windtunnel.slots import Mixture, Progress

SIZES = {"a": 10, "b": 1000, "c": 10}
NOW = Progress(0, 1, 0, 0, 4, 0.0, 0.0, 0)


def shares(part: Mixture, *rounds: dict[str, float]) -> dict[str, float]:
    state = part.state(None)
    for losses in rounds:
        part.observe({"bits_per_byte": 9.0, **{f"bits_per_byte/{name}": value for name, value in losses.items()}, "cloze/a": 100.0}, state)
    return part.weights(SIZES, NOW, {}, state)


def test_shares_are_a_softmax_over_the_window():
    part = make(Mixture, {"skill-graph": {"helps": {"a": {"b": 0.5}}, "rate": 0.7, "window": 2}})
    start = shares(part)
    raw = {"a": math.exp(0.7 * 1.5), "b": math.exp(0.7), "c": math.exp(0.7)}
    assert start == pytest.approx({name: value / sum(raw.values()) for name, value in raw.items()})
    old, one, two = {"a": 9.0, "b": 9.0, "c": 9.0}, {"a": 1.0, "b": 3.0, "c": 2.0}, {"a": 0.5, "b": 2.5, "c": 2.0}
    raw = {"a": math.exp(0.7 * (1.5 + 0.5 * 5.5)), "b": math.exp(0.7 * 5.5), "c": math.exp(0.7 * 4)}
    assert shares(part, old, one, two) == pytest.approx({name: value / sum(raw.values()) for name, value in raw.items()})


def test_a_complete_graph_is_uniform_and_its_sources_are_known():
    everything = {one: dict.fromkeys("abc", 1.0) for one in "abc"}
    part = make(Mixture, {"skill-graph": {"helps": everything}})
    assert shares(part, {"a": 1.0, "b": 5.0, "c": 2.0}) == pytest.approx(dict.fromkeys("abc", 1 / 3))
    assert part.looks_at() == ("a", "b", "c") and sum(shares(part, {"a": 1e4, "b": 0.0}).values()) == pytest.approx(1)
