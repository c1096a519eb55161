"""Prompts put together: the answers are those of single prompts, and what is saved is padding."""

from __future__ import annotations

import pytest

from windtunnel.core.registry import make
from windtunnel.slots import Experiment


def measured(**knobs: object) -> dict[str, float]:
    return make(Experiment, {"prefill": {"prompts": 24, "longest": 64, "median": 12, "batch": 4, "width": 64, **knobs}}).measure(3)


def test_every_way_gives_the_answers_of_single_prompts_and_packing_pads_least():
    ways = {way: measured(way=way) for way in ("padded", "sorted", "prepacked")}
    assert all(found["difference"] < 1e-4 for found in ways.values())
    assert ways["prepacked"]["tokens"] < ways["sorted"]["tokens"] < ways["padded"]["tokens"]
    assert 1 <= ways["prepacked"]["tokens"] < 1.4 and ways["prepacked"]["cost"] < ways["padded"]["cost"]


def test_prompts_that_are_not_kept_apart_answer_otherwise_and_equal_ones_save_nothing():
    assert measured(way="prepacked", apart=False)["difference"] > 1e-2
    found = [measured(way=way, lengths="equal", prompts=8) for way in ("padded", "prepacked")]
    assert [one["tokens"] for one in found] == [1, 1] and [one["cost"] for one in found] == pytest.approx([1, 1])
