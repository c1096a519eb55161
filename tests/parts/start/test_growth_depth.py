"""Depth growth: maps of layers, what new layers begin as, what is preserved exactly, and when to grow."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from families import KINDS
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from tiny_models import FAMILIES, LENGTH, build, config_of, moved, packed, run
from torch import nn

from windtunnel.core.errors import PartError, UserError
from windtunnel.core.registry import make
from windtunnel.kits.weights.grow import first_of_each, outputs
from windtunnel.kits.weights.timing import growth_timing
from windtunnel.models import init
from windtunnel.models.anatomy import anatomy
from windtunnel.models.forward import forward
from windtunnel.models.init import fresh
from windtunnel.models.load import load
from windtunnel.models.save import export
from windtunnel.parts.start.deepen import layer_similarity
from windtunnel.slots import Start, StartContext

PRESERVING = [family for family in FAMILIES if family != "bert"]


def trained(family: str, layers: int = 3, **sizes) -> nn.Module:
    return moved(build(family, seed=1, layers=layers, **sizes))


def deepen(model: nn.Module, depth: int, seed: int = 9, **knobs) -> nn.Module:
    family = model.config.model_type.replace("_", "-")
    return make(Start, {"deepen": knobs}).build(model, config_of(family, layers=depth), seed)


def logits(model: nn.Module) -> torch.Tensor:
    tokens, documents = packed()
    with torch.no_grad():
        return run(copy.deepcopy(model).double().eval(), tokens, documents).logits[documents >= 0]


def sources(big: nn.Module, small: nn.Module) -> dict[str, list[int | None]]:
    """For each stack, which layer of ``small`` each layer of ``big`` is bitwise a copy of (None: of none), by its attention and mlp."""
    found = {}
    for stack, blocks in anatomy(big).stacks.items():
        old = anatomy(small).stacks[stack]

        def same(one, other):
            pairs = [(one.attention.q, other.attention.q), (one.mlp.up, other.mlp.up), (one.mlp.down, other.mlp.down)]
            return all(torch.equal(a.get(), b.get()) for a, b in pairs)

        found[stack] = [next((i for i, other in enumerate(old) if same(block, other)), None) for block in blocks]
    return found


# Maps ---------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("knobs", "old", "expected"),
    [
        ({}, 3, [0, 1, 2, 0, 1, 2, 0]),  # a depth that does not divide
        ({"layout": "stack"}, 2, [0, 1, 0, 1]),
        ({"layout": "interleave"}, 2, [0, 0, 0, 1, 1]),
        ({"layout": "interleave"}, 2, [0, 0, 1, 1]),
        ({"drop": 2}, 8, [0, 1, 2, 3, 4, 5, 2, 3, 4, 5, 6, 7]),
        ({"drop": 8}, 32, [*range(24), *range(8, 32)]),  # SOLAR
        ({"drop": 0}, 2, [0, 1, 0, 1]),
        ({"repeat": [12, 27]}, 32, [*range(28), *range(12, 28), *range(28, 32)]),  # Yi-9B
        ({"repeat": [7, 7]}, 8, [*range(8), 7]),
        ({"layers": [2, 0, 0, 1]}, 3, [2, 0, 0, 1]),
    ],
)
def test_maps_name_the_source_of_each_layer(knobs, old, expected):
    assert make(Start, {"deepen": knobs}).places(old, len(expected)) == expected


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 40), st.data())
def test_scaling_up_keeps_every_layer_and_counts_as_the_papers_say(old, data):
    drop = data.draw(st.integers(0, (old - 1) // 2))
    places = make(Start, {"deepen": {"drop": drop}}).places(old, 2 * (old - drop))
    assert places == [*range(old - drop), *range(drop, old)]  # SOLAR's own words
    assert [index for index, first in zip(places, first_of_each(places), strict=True) if first] == list(range(old))
    new = data.draw(st.integers(old + 1, 5 * old))
    for layout in ("stack", "interleave"):
        counts = [make(Start, {"deepen": {"layout": layout}}).places(old, new).count(index) for index in range(old)]
        assert sum(counts) == new and max(counts) - min(counts) <= 1


@pytest.mark.parametrize("family", FAMILIES)
def test_copies_go_where_the_map_says_and_all_else_is_copied_once(family):
    small = trained(family)
    before = copy.deepcopy(small.state_dict())
    big = deepen(small, 5, layers=[2, 0, 1, 2, 2])
    assert set(map(tuple, sources(big, small).values())) == {(2, 0, 1, 2, 2)}
    for stack, blocks in anatomy(big).stacks.items():  # t5's table of relative positions is the first block's, whatever comes first
        tables = [block.attention.bias for block in blocks]
        assert [table is not None for table in tables] == [family == "t5", False, False, False, False]
        assert family != "t5" or torch.equal(tables[0].weight, anatomy(small).stacks[stack][0].attention.bias.weight)
    outside = [name for name in before if not any(name.startswith(f"{stack}.") for stack in anatomy(big).stacks)]
    assert len(outside) > 1 and all(torch.equal(big.state_dict()[name], before[name]) for name in outside)
    assert all(torch.equal(value, before[name]) for name, value in small.state_dict().items())
    assert not {p.data_ptr() for p in big.parameters()} & {p.data_ptr() for p in small.parameters()}
    tokens, documents = packed()
    nn.functional.cross_entropy(run(big, tokens, documents).logits.flatten(0, 1), tokens.flatten()).backward()
    assert all(weight.grad is not None for weight in big.parameters())


@pytest.mark.parametrize("family", FAMILIES)
def test_stack_and_deepen_are_the_same_code(family):
    small, config = trained(family, 2), config_of(family, layers=4)
    one = make(Start, {"stack": {"factor": 2}}).build(small, config, 3)
    other = make(Start, "deepen").build(small, config, 3)
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())


def test_up_scaling_equals_composing_the_blocks_by_hand():
    small = trained("llama", 4)
    big = deepen(small, 6, repeat=[1, 2])
    played = copy.deepcopy(small)
    played.model.layers = nn.ModuleList(copy.deepcopy(small.model.layers[i]) for i in (0, 1, 2, 1, 2, 3))
    played.config.num_hidden_layers = 6
    assert torch.equal(logits(big), logits(played)) and not torch.equal(logits(big), logits(small))


def test_layers_keep_the_kind_of_attention_they_were_trained_with(tmp_path):
    small = trained("modernbert", 4)
    kinds = small.config.layer_types
    big = deepen(small, 6, repeat=[1, 2])
    assert len(set(kinds)) == 2 and big.config.layer_types == [kinds[i] for i in (0, 1, 2, 1, 2, 3)]
    assert [layer.attention_type for layer in big.model.layers] == big.config.layer_types
    export(big, tmp_path)
    assert torch.equal(logits(load(tmp_path)), logits(big))


@pytest.mark.parametrize("new", ["copy", "zero"])
def test_what_no_recipe_says_is_inherited_from_a_checkpoint(new, tmp_path):
    small = trained("llama")
    small.config.rope_parameters = {"rope_type": "default", "rope_theta": 777.0}
    small.config.rms_norm_eps = 0.01
    export(small, tmp_path)
    small = load(tmp_path)
    small.config.attention_dropout = 0.3
    big = deepen(small, 4, new=new)
    assert big.config.rope_parameters["rope_theta"] == 777.0 and big.config.rms_norm_eps == 0.01
    assert big.config.attention_dropout == 0.0, "dropout is the recipe's to say"
    if new == "zero":
        torch.testing.assert_close(logits(big), logits(small), rtol=0, atol=1e-12)


# How new layers begin -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("knobs", [{"layout": "stack"}, {"layout": "interleave"}, {"repeat": [1, 2]}], ids=str)
@pytest.mark.parametrize("family", PRESERVING)
def test_silent_layers_preserve_the_function_exactly(family, knobs):
    small = trained(family)
    big = deepen(small, 5, new="zero", **knobs)
    torch.testing.assert_close(logits(big), logits(small), rtol=0, atol=1e-12)
    assert not torch.allclose(logits(deepen(small, 5, **knobs)), logits(small), atol=1e-3), "copies do not"
    tokens, documents = packed()
    nn.functional.cross_entropy(run(big, tokens, documents).logits.flatten(0, 1), tokens.flatten()).backward()
    silent = [block for block in anatomy(big).blocks if not block.mlp.down.get().any()]
    assert len(silent) == 2 * len(anatomy(big).stacks)
    for block in silent:
        assert block.attention.q.get().any() and block.mlp.up.get().any(), "what feeds the outputs is a copy"
        for matrix in outputs(block):
            assert not matrix.get().any() and matrix.module.weight.grad.any(), "they are not dead: they learn at once"


@pytest.mark.parametrize("sizes", [{"key_value_heads": 2}, {"tied": False}], ids=str)
def test_silent_layers_preserve_grouped_queries_and_heads_of_their_own(sizes):
    small = trained("qwen3", **sizes)
    big = make(Start, {"deepen": {"new": "zero"}}).build(small, config_of("qwen3", layers=7, **sizes), 0)
    torch.testing.assert_close(logits(big), logits(small), rtol=0, atol=1e-12)


def test_silent_layers_in_bert_would_not_preserve_and_are_refused():
    small = trained("bert")
    with pytest.raises(PartError, match="bert, which normalises after each addition"):
        deepen(small, 6, new="zero")
    big = deepen(small, 6)
    for block in anatomy(big).blocks[3:]:
        for matrix in outputs(block):
            matrix.set(torch.zeros(matrix.shape))
            matrix.set_bias(torch.zeros(matrix.shape[0]))
    assert (logits(big) - logits(small)).abs().max() > 1e-3, "the refusal is right"


@pytest.mark.parametrize("family", FAMILIES)
def test_random_layers_are_those_of_scratch_and_the_rest_is_trained(family):
    small, scratch = trained(family), fresh(config_of(family, layers=5), 9)
    big = deepen(small, 5, repeat=[1, 2], new="random")
    assert set(map(tuple, sources(big, small).values())) == {(0, 1, 2, None, None)}
    for stack in anatomy(big).stacks:
        drawn = {name: value for name, value in big.state_dict().items() if name.startswith((f"{stack}.3.", f"{stack}.4."))}
        assert drawn and all(torch.equal(value, scratch.state_dict()[name]) for name, value in drawn.items())
    twin, other = deepen(small, 5, repeat=[1, 2], new="random"), deepen(small, 5, seed=8, repeat=[1, 2], new="random")
    assert all(torch.equal(value, twin.state_dict()[name]) for name, value in big.state_dict().items())
    assert not torch.equal(logits(big), logits(other))


def test_its_own_source_comes_before_the_phase_before():
    small = trained("llama", 2)
    for name, knobs in (("deepen", {}), ("stack", {"factor": 2})):
        part = make(Start, {name: knobs | {"source": {"folder": "anywhere"}}})
        assert set(part.trained()) == {"source"}
        for previous in (None, build("llama", seed=5), build("gpt2")):
            big = part.build(previous, config_of("llama", layers=4), 0, StartContext({"source": small}, None))
            assert set(map(tuple, sources(big, small).values())) == {(0, 1, 0, 1)}


# What is refused ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layers", "knobs", "message"),
    [
        (5, {"layers": [0, 1, 2, 3, 0]}, "there is no layer 3; .* 0 to 2"),
        (5, {"layers": [0, 1, -1, 2, 0]}, "there is no layer -1"),
        (5, {"layers": [0, 1, 2, 0]}, r"makes 4 layers of 3, not 5; set model.layers: 4"),
        (6, {"repeat": [1, 2]}, "set model.layers: 5"),
        (5, {"repeat": [2, 1]}, "0 to 2"),
        (5, {"repeat": [1, 3]}, "0 to 2"),
        (4, {"drop": 2}, "drop at most 1"),
        (3, {}, "set model.layers higher than 3"),
        (2, {}, "layers 3 cannot become 2"),
        (5, {"layers": [0, 2, 2, 2, 2], "new": "zero"}, r"every layer to appear"),
        (4, {"layers": [0, 2, 1, 1], "new": "zero"}, r"in their order; the map has \[0, 2, 1\]"),
    ],
)
def test_a_map_that_does_not_fit_is_refused(layers, knobs, message):
    with pytest.raises(PartError, match=message):
        deepen(trained("llama"), layers, **knobs)


def test_two_maps_and_unknown_beginnings_are_refused():
    with pytest.raises(ValidationError, match="repeat and drop each say"):
        make(Start, {"deepen": {"repeat": [1, 2], "drop": 2}})
    with pytest.raises(ValidationError, match="'copy', 'zero' or 'random'"):
        make(Start, {"deepen": {"new": "noise"}})
    again = make(Start, make(Start, {"deepen": {"repeat": [1, 2]}}).model_dump())  # as a stored recipe writes it
    assert again.repeat == (1, 2)


def test_other_sizes_and_families_are_refused():
    small = trained("gpt2", 2)
    for config, message in (
        (config_of("gpt2", layers=4, width=64), "width 32 and this one 64"),
        (config_of("gpt-neox", layers=4), "family gpt2"),
        (config_of("gpt2", layers=4, context=2 * LENGTH), "same context or a longer one"),
    ):
        with pytest.raises(PartError, match=message):
            make(Start, "deepen").build(small, config, 0)
    with pytest.raises(PartError, match=r"no phase before.*or the start a `source`"):
        make(Start, "deepen").build(None, config_of("gpt2"), 0)
    shorter = make(Start, {"deepen": {"new": "zero"}}).build(small, config_of("gpt2", layers=4, context=LENGTH // 2), 0)
    assert torch.allclose(logits(shorter), logits(small), atol=1e-12), "more positions than needed do no harm"
    small.config.scale_attn_by_inverse_layer_idx = True
    with pytest.raises(PartError, match="use layout: stack"):
        deepen(small, 4, layout="interleave", new="zero")


# No weight is drawn to be overwritten -------------------------------------------------------------------------------------------


def test_growth_draws_only_what_is_new(monkeypatch):
    drawn: list[str] = []
    real = init._initialisers
    monkeypatch.setattr(init, "_initialisers", lambda model, name: drawn.append(name) or real(model, name))
    small = trained("llama")
    drawn.clear()
    deepen(small, 6)
    deepen(small, 6, new="zero")
    assert drawn == []
    deepen(small, 4, new="random")
    assert {name.partition("layers.")[2].partition(".")[0] for name in drawn} == {"3"}


@pytest.mark.parametrize("family", FAMILIES)
def test_given_weights_are_copied_and_the_others_are_those_of_scratch(family):
    config = config_of(family)
    scratch = fresh(config, 4)
    names = [name for name, _ in scratch.named_parameters()]
    value = torch.full_like(scratch.get_parameter(names[2]), 0.5)
    asked: list[str] = []
    model = fresh(config, 4, lambda name, shape: asked.append(name) or (value if name == names[2] else None))
    assert asked == names
    for name, weight in model.named_parameters():
        assert torch.equal(weight, value if name == names[2] else scratch.get_parameter(name)), name
        assert not weight.is_meta and weight.requires_grad
    value.zero_()
    assert model.get_parameter(names[2]).any(), "a copy"
    assert not any(buffer.is_meta for buffer in model.buffers())
    with pytest.raises(ValueError, match="does not fit"):
        fresh(config, 4, lambda name, shape: torch.zeros(3, 3, 3))


# Which layers to repeat, and when to grow ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_similarity_is_the_cosine_between_hidden_states(family):
    model = trained(family)
    tokens, documents = packed()
    model.train()
    found = layer_similarity(model, tokens, documents)
    assert model.training and len(found) == len(anatomy(model).blocks) and all(-1 <= value <= 1 for value in found)
    if KINDS[family] == "encoder-decoder":
        return
    with torch.no_grad():
        states = forward(
            model.eval(), tokens, documents, causal=KINDS[family] != "encoder", needs=frozenset({"hidden_states"})
        ).hidden_states
    inside = documents >= 0
    for index in range(2):  # what transformers calls the last state has been through the final norm
        one, other = (states[i][inside].double() for i in (index, index + 1))
        expected = ((one * other).sum(-1) / one.norm(dim=-1) / other.norm(dim=-1)).mean()
        assert found[index] == pytest.approx(float(expected), abs=1e-9)


def test_a_silent_layer_is_entirely_similar_and_whole_sequences_need_no_documents():
    tokens, _ = packed()
    found = layer_similarity(deepen(trained("llama"), 4, new="zero"), tokens)
    assert found[3] == pytest.approx(1.0, abs=1e-12) and max(found[:3]) < 0.999


@pytest.mark.parametrize(
    ("parameters", "tokens", "expected"), [(8e9, 15e12, 6.58e9), (7e9, 2e12, 11.11e9), (13e9, 2e12, 15.84e9), (70e9, 2e12, 42.48e9)]
)
def test_the_guideline_gives_the_authors_own_numbers(parameters, tokens, expected):
    timing = growth_timing(parameters, 6 * parameters * tokens)
    assert round(timing.tokens / 1e9, 2) * 1e9 == pytest.approx(expected) and timing.factor == 4
    assert timing.share == pytest.approx(expected / 4 / tokens, rel=1e-3)


@pytest.mark.parametrize(
    ("parameters", "flops", "message"),
    [
        (1e7, 6 * 1e7 * 2e8, "4.1e[+]08 to 7e[+]10 parameters.*sweep the small model's share"),
        (2e11, 1e23, "parameters"),
        (1e9, 1e19, "1e[+]20 to 8.5e[+]23 FLOPs"),
        (1e9, 1e25, "FLOPs"),
        (7e9, 1e20, "1283% of the whole budget"),
        (math.nan, 1e22, "parameters"),
        (1e9, math.nan, "FLOPs"),
    ],
)
def test_the_guideline_refuses_what_it_was_not_made_for(parameters, flops, message):
    with pytest.raises(UserError, match=message):
        growth_timing(parameters, flops)


@settings(max_examples=50, deadline=None)
@given(st.floats(4.1e8, 7e10), st.floats(20, 23.9))
def test_the_guideline_never_asks_for_more_than_half_of_the_budget(parameters, exponent):
    try:
        timing = growth_timing(parameters, 10**exponent)
    except UserError:
        return
    assert 0 < timing.share <= 0.5
