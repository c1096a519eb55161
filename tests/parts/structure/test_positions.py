"""Structures that change how positions are read: frequencies that transformers loads, and windows and chunks that are plain when short."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from tiny_models import build, packed, random_tokens, run
from transformers import AutoModelForCausalLM

from windtunnel.core.errors import PartError
from windtunnel.core.registry import make
from windtunnel.kits.text.rotations import disturbance, frequencies, least_disturbing
from windtunnel.models.save import export
from windtunnel.slots import Structure

SCHEMES: list[dict[str, Any]] = [
    {"scheme": "base", "base": 5e5},
    {"scheme": "linear"},
    {"scheme": "yarn"},
    {"scheme": "llama3"},
    {"scheme": "longrope", "factors": [1, 1.5, 2, 4]},
    {"scheme": "by-angles", "base": 2e4},
]


def scaled(model: Any, **knobs: Any) -> Any:
    make(Structure, {"rope-scaling": {"original": 16, **knobs}}).apply(model)
    return model


@pytest.mark.parametrize("knobs", SCHEMES, ids=lambda knobs: knobs["scheme"])
def test_transformers_loads_scaled_positions_with_equal_logits(knobs, tmp_path):
    tokens = random_tokens(2, 40)
    model = scaled(build("llama", context=24), **knobs).eval()
    with torch.no_grad():
        ours, plain = run(model, tokens).logits, run(build("llama", context=24).eval(), tokens).logits
        export(model, tmp_path / "model")
        theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "model").eval()(tokens).logits
    assert torch.equal(ours, theirs)
    assert (ours - plain).abs().max() > 1e-5
    again = scaled(copy.deepcopy(model), **knobs)  # as when a run is resumed
    assert again.config.to_dict() == model.config.to_dict()


def test_a_part_of_a_head_may_rotate_and_factors_must_fit():
    model = scaled(build("gpt-neox"), scheme="linear", factor=2.0)
    assert model.config.rope_parameters["partial_rotary_factor"] == 0.25
    with pytest.raises(PartError, match="rotates 4 pairs"):
        scaled(build("llama"), scheme="longrope", factors=[1.0, 2.0])
    with pytest.raises(PartError, match="gpt2 has no rotary positions"):
        scaled(build("gpt2"), scheme="linear")
    with pytest.raises(ValueError, match="say which"):
        make(Structure, {"rope-scaling": {"original": 16, "scheme": "base"}})


def test_fast_pairs_of_dimensions_keep_their_frequency_and_slow_ones_are_interpolated():
    chosen = least_disturbing(10000.0, 32, 256, 1024, (4.0, 1.0))
    assert chosen[0] == 1.0 and chosen[-1] == 4.0
    slow = float(frequencies(10000.0, 32)[8])
    assert disturbance(slow, 4.0, 256, 1024, 32) == pytest.approx(0.0, abs=0.01)  # the same arc, four times as densely
    assert disturbance(slow, 1.0, 256, 1024, 32) > 0.01
    assert math.isclose(disturbance(slow, 1.0, 256, 256, 32), 0.0, abs_tol=1e-12)


def ruled(model: Any, **part: Any) -> Any:
    make(Structure, part).apply(model)
    return model


RULES: list[dict[str, Any]] = [{"lambda-attention": {"window": 24, "sinks": 2}}, {"dual-chunk": {"chunk": 30, "near": 6}}]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: next(iter(rule)))
def test_a_rule_is_plain_up_to_its_length_and_is_taken_away(rule):
    plain, model = build("qwen3").eval(), ruled(build("qwen3").eval(), **rule)
    short, long = random_tokens(2, 24), random_tokens(2, 60)
    with torch.no_grad():
        assert torch.equal(run(model, short).logits, run(plain, short).logits)
        assert (run(model, long).logits - run(plain, long).logits).abs().max() > 1e-5
        assert torch.equal(run(copy.deepcopy(model), long).logits, run(model, long).logits)
        with pytest.raises(PartError, match="another rule"):
            ruled(model, **rule)
        make(Structure, rule).remove(model)
        assert torch.equal(run(model, long).logits, run(plain, long).logits)


@pytest.mark.parametrize("family", ["llama", "gpt-neox"])
def test_rules_that_change_nothing_agree_with_the_models_own_attention(family):
    """Sinks without end and no ceiling are plain attention, and so are chunks of one document among several short ones."""
    tokens, documents = packed()
    plain = build(family).eval()
    every = ruled(build(family).eval(), **{"lambda-attention": {"window": 3, "sinks": 1000, "ceiling": False}})
    chunks = ruled(build(family).eval(), **{"dual-chunk": {"chunk": 22, "near": 2}})
    with torch.no_grad():
        expected = run(plain, tokens, documents).logits[documents >= 0]
        for model in (every, chunks):  # the longest document has 20 tokens, the sequence 24
            assert torch.allclose(run(model, tokens, documents).logits[documents >= 0], expected, atol=1e-5)


def test_what_lies_between_the_first_tokens_and_the_window_is_not_seen():
    model = ruled(build("llama", layers=1).eval(), **{"lambda-attention": {"window": 8, "sinks": 2}})
    tokens = random_tokens(1, 40)
    with torch.no_grad():
        before = run(model, tokens).logits[0, -1]
        for place, seen in ((0, True), (1, True), (2, False), (31, False), (32, True)):
            other = tokens.clone()
            other[0, place] = (other[0, place] - 4) % 150 + 5
            assert (not torch.equal(run(model, other).logits[0, -1], before)) == seen, place


def test_chunks_far_back_are_seen_at_one_position():
    """Of the chunks before the last but one only what they hold counts: exchanging two of them changes nothing in one layer."""
    model = ruled(build("llama", layers=1).eval(), **{"dual-chunk": {"chunk": 12, "near": 4}})
    tokens = random_tokens(1, 36)
    exchanged = torch.cat([tokens[:, 8:16], tokens[:, :8], tokens[:, 16:]], dim=1)
    with torch.no_grad():
        one, other = run(model, tokens).logits[0, 24:], run(model, exchanged).logits[0, 24:]
    assert torch.allclose(one, other, atol=1e-5)
    assert not torch.allclose(one[:8], run(build("llama", layers=1).eval(), tokens).logits[0, 24:32], atol=1e-5)
