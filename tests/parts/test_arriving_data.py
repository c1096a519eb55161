"""Chunks of data and what the next begins from."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from windtunnel.kits.image.tiny import begun, said
from windtunnel.parts.experiment.arriving_data import ArrivingData, doubled


def test_a_network_of_twice_the_width_says_the_same():
    weights, inputs = begun((64, 6, 6, 10), 0), torch.rand(5, 64)
    weights["0.bias"] = torch.rand(6)
    found = doubled(weights, 1)
    assert found["1.weight"].shape == (12, 12) and torch.allclose(said(found, inputs), said(weights, inputs), atol=1e-5)
    assert not torch.equal(found["1.weight"][:, :6], found["1.weight"][:, 6:]), "or copies would stay copies"


def test_what_was_kept_shows():
    knobs = {"steps": 20, "width": 24, "rates": (3e-3,)}
    warm, fresh = (ArrivingData(begin=begin, **knobs).measure(80) for begin in ("warm", "fresh"))
    assert warm["first"] == fresh["first"] and warm["accuracy"] > fresh["accuracy"], "twenty steps are too few for fresh weights"
    grown = ArrivingData(begin="blended", grows=True, kept=(0.5,), **knobs).measure(80)
    assert 0 < grown["accuracy"] <= 1


def test_a_width_that_cannot_be_halved_for_every_chunk_is_refused():
    with pytest.raises(ValidationError, match="cannot be halved 2 times"):
        ArrivingData(grows=True, width=10)
    assert ArrivingData(width=10).width == 10


def test_every_beginning_has_its_rate_chosen():
    knobs = {"steps": 30, "width": 24, "kept": (0.5,)}
    for begin in ("warm", "fresh"):
        alone = [ArrivingData(begin=begin, rates=(rate,), **knobs).measure(81) for rate in (1e-5, 1e-2)]
        assert ArrivingData(begin=begin, rates=(1e-5, 1e-2), **knobs).measure(81) == max(alone, key=lambda one: one["accuracy"])
