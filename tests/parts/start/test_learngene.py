"""Layers on a line, stages that share, and the models of any depth that begin from them."""

from __future__ import annotations

import copy
import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import FAMILIES, LENGTH, build, config_of, packed, random_tokens, run
from torch import nn

from windtunnel.core.errors import PartError, UserError
from windtunnel.core.registry import make
from windtunnel.kits.weights.sharing import SHARES, split
from windtunnel.laws import family_cost as costs
from windtunnel.models.anatomy import anatomy, linears, parameters_count
from windtunnel.models.init import fresh
from windtunnel.models.load import load
from windtunnel.models.save import export
from windtunnel.parts.start.expand_stages import proportional
from windtunnel.slots import Optimizer, Start, StartContext, Structure
from windtunnel.train.count import count_step

LINE, STAGES = {"linear-layers": {}}, {"shared-stages": {"stages": [3, 1]}}


def shaken(model: nn.Module, seed: int = 0) -> nn.Module:
    """Every trained number moved by a draw of its own, as training would: each weight from its name."""
    with torch.no_grad():
        for place, weight in enumerate(model.parameters()):
            weight.add_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(1000 * seed + place)).to(weight) * 0.1)
    return model


def learned(family: str, structure: dict, layers: int = 4, double: bool = False, **sizes) -> nn.Module:
    """A folded model that was trained, so to say, under ``structure``."""
    model = build(family, layers=layers, **sizes)
    model = model.double() if double else model
    part = make(Structure, structure)
    part.apply(model)
    shaken(model)
    part.remove(model)
    return model.eval()


def logits(model: nn.Module) -> torch.Tensor:
    return run(model, *packed()).logits


def loss_of(model: nn.Module) -> torch.Tensor:
    return nn.functional.cross_entropy(logits(model).flatten(0, 1), packed()[0].flatten())


def blocks_of(model: nn.Module) -> dict[str, list[dict[str, nn.Parameter]]]:
    return {stack: [dict(block.module.named_parameters()) for block in blocks] for stack, blocks in anatomy(model).stacks.items()}


def line_by_hand(model: nn.Module, plain: nn.Module) -> dict[str, tuple[int, int]]:
    """Write B + (i / L) A, read from the state of ``model``, into ``plain``; the block of each owner and the depth, by name."""
    state, owners = model.state_dict(), {}
    with torch.no_grad():
        for name, value in plain.named_parameters():
            stack = next((stack for stack in anatomy(plain).stacks if name.startswith(f"{stack}.")), None)
            if stack is None:
                value.copy_(state[name])
                continue
            layer, _, path = name.removeprefix(f"{stack}.").partition(".")
            depth = len(anatomy(plain).stacks[stack])
            owner = next(i for i in range(depth) if f"{stack}.{i}.{path}" in state)
            slope = state.get(f"{stack}.{owner}.slope.{path}", torch.zeros_like(value))
            value.copy_(state[f"{stack}.{owner}.{path}"] + ((int(layer) - owner) / depth) * slope)
            owners[name] = (f"{stack}.{owner}", (int(layer) - owner) / depth, path)
    return owners


# The line while it trains -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_layers_are_b_plus_a_share_of_a_with_exact_gradients(family):
    model, plain = build(family, layers=4).double().eval(), build(family, layers=4, seed=1).double().eval()
    part = make(Structure, LINE)
    part.apply(model)
    shaken(model)
    owners = line_by_hand(model, plain)
    one, other = loss_of(model), loss_of(plain)
    torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)
    one.backward()
    other.backward()
    expected: dict[str, torch.Tensor] = {}
    for name, value in plain.named_parameters():
        if name in owners:
            block, distance, path = owners[name]
            for key, factor in ((f"{block}.{path}", 1.0), (f"{block}.slope.{path}", distance)):
                expected[key] = expected.get(key, 0) + factor * value.grad
        else:
            expected[name] = value.grad
    for name, value in model.named_parameters():
        torch.testing.assert_close(value.grad, expected[name], rtol=1e-9, atol=1e-13, msg=name)
    part.remove(model)
    assert torch.equal(loss_of(model), one)
    assert [type(module) for module in model.modules()] == [type(module) for module in plain.modules()]
    assert list(model.state_dict()) == list(plain.state_dict())


@pytest.mark.parametrize("family", FAMILIES)
def test_the_line_begins_as_it_says_and_stores_two_blocks(family):
    model, plain = build(family, layers=4), build(family, layers=4)
    make(Structure, LINE).apply(model)
    state, count = dict(model.named_parameters()), 0
    for stack, blocks in blocks_of(plain).items():
        for path in blocks[-1]:
            owner = 0 if path in blocks[0] else 1
            assert torch.equal(state[f"{stack}.{owner}.{path}"], blocks[owner][path])
            slope = state[f"{stack}.{owner}.slope.{path}"]
            assert torch.equal(slope, blocks[-1][path] if slope.ndim > 1 else torch.zeros_like(slope)), path
            count += 2 * slope.numel()
        count += sum(value.numel() for path, value in blocks[0].items() if path not in blocks[-1])
    assert parameters_count(model)["non_embedding"] - parameters_count(plain)["non_embedding"] == count - sum(
        value.numel() for blocks in blocks_of(plain).values() for block in blocks for value in block.values()
    )
    assert len({value.data_ptr() for value in state.values()}) == len(state) == len(list(model.state_dict())) - _extra(plain)
    optimizer = make(Optimizer, "adamw").build(model, 0.01)
    seen = [value for group in optimizer.param_groups for value in group["params"]]
    assert {id(value) for value in seen} == {id(value) for value in state.values()} and len(seen) == len(state)


def _extra(model: nn.Module) -> int:
    """How many entries the state of a model has besides its parameters: tied names and buffers."""
    return len(model.state_dict()) - len(list(model.named_parameters()))


@pytest.mark.parametrize("family", ["llama", "gpt2", "modernbert", "t5"])
def test_through_ends_goes_on_with_a_folded_line(family):
    model = learned(family, LINE, double=True)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    part = make(Structure, {"linear-layers": {"slope": "through-ends"}})
    part.apply(model)
    part.remove(model)
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("structure", [LINE, STAGES])
@pytest.mark.parametrize("family", ["llama", "gpt2", "modernbert", "t5"])
def test_shared_training_is_interrupted_and_goes_on_bitwise(family, structure):
    def begin(seed):
        model = build(family, layers=4, seed=seed)
        make(Structure, structure).apply(model)
        return model, make(Optimizer, "adamw").build(model, 0.01)

    def step(model, optimizer):
        optimizer.zero_grad()
        loss_of(model).backward()
        optimizer.step()

    model, optimizer = begin(0)
    for _ in range(2):
        step(model, optimizer)
    saved = copy.deepcopy((model.state_dict(), optimizer.state_dict()))
    step(model, optimizer)
    again, moments = begin(5)
    again.load_state_dict(saved[0])
    moments.load_state_dict(saved[1])
    step(again, moments)
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())
    assert torch.equal(loss_of(again), loss_of(model)) and torch.equal(loss_of(copy.deepcopy(model)), loss_of(model))


@pytest.mark.parametrize("structure", [LINE, STAGES])
def test_a_shared_model_is_still_a_model(structure, tmp_path):
    model, plain = build("gpt2", layers=4), build("gpt2", layers=4)
    part = make(Structure, structure)

    def flops(one):
        return count_step(one, lambda: loss_of(one).backward(), matrices=True)[:2]

    part.apply(model)
    assert flops(model) == flops(plain)  # sharing saves storage and no arithmetic
    assert [block.mlp.up.shape for block in anatomy(model).blocks] == [block.mlp.up.shape for block in anatomy(plain).blocks]
    assert type(linears(model)["transformer.h.2.mlp.c_fc"]).__name__ == "Conv1D"
    model.double().float()
    whole = loss_of(model)
    torch.compiler.reset()
    assert torch.equal(torch.compile(loss_of, backend="eager")(model), whole)
    muon = make(Optimizer, "muon").build(model, 0.01)
    assert {id(v) for group in muon.param_groups for v in group["params"]} == {id(v) for v in model.parameters()}
    matrices = {id(v) for group in muon.param_groups if group.get("name") == "matrices" for v in group["params"]}
    assert len(matrices) == 8  # four of gpt2 in B and in A, or in each stage
    muon.step()
    part.remove(model)
    export(model, tmp_path)
    assert torch.equal(loss_of(load(tmp_path)), loss_of(model))


def test_structures_refuse_what_they_cannot_do():
    line, stages = make(Structure, LINE), make(Structure, STAGES)
    with pytest.raises(PartError, match=r"model.layers has 1 block.*layers to at least 2"):
        line.apply(build("llama", layers=1))
    for part in (line, stages):
        with pytest.raises(PartError, match="no block shares"):
            part.remove(build("llama", layers=4))
        model = build("llama", layers=4)
        part.apply(model)
        for other in (line, stages):
            with pytest.raises(PartError, match="share parameters already"):
                other.apply(model)
    with pytest.raises(PartError, match=r"stages \[3, 1\] are 4 blocks, and there are 5; for example stages: \[3, 2\]"):
        stages.apply(build("llama", layers=5))
    with pytest.raises(PartError, match="5 stages need as many blocks, and there are 4; set stages to at most 4"):
        make(Structure, "shared-stages").apply(build("llama", layers=4))


# Stages -------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_a_stage_trains_one_set_with_the_sum_of_its_gradients(family):
    model = build(family, layers=4).double().eval()
    part = make(Structure, STAGES)
    part.apply(model)
    shaken(model)
    plain = copy.deepcopy(model)
    part.remove(plain)
    for blocks in blocks_of(plain).values():
        for path, value in blocks[1].items():
            assert torch.equal(value, blocks[2][path]) and (path not in blocks[0] or torch.equal(value, blocks[0][path]))
            assert value.ndim == 1 or not torch.equal(value, blocks[3][path])
    one, other = loss_of(model), loss_of(plain)
    assert torch.equal(one, other)
    one.backward()
    other.backward()
    for stack, blocks in blocks_of(model).items():
        there = blocks_of(plain)[stack]
        for place, block in enumerate(blocks):
            for path, value in block.items():
                copies = [b[path].grad for b in (there[:3] if place < 3 else there[3:]) if path in b]
                torch.testing.assert_close(value.grad, sum(copies), rtol=1e-9, atol=1e-13)
    held = [sum(1 for block in blocks if block) for blocks in blocks_of(model).values()]
    assert all(count == (3 if family == "modernbert" else 2) for count in held)  # block 1 holds the norm that modernbert's first lacks


def test_stages_of_one_block_change_nothing():
    model = build("llama", layers=2)
    part = make(Structure, {"shared-stages": {"stages": [1, 1]}})
    part.apply(model)
    assert not any(hasattr(module, SHARES) for module in model.modules())
    part.remove(model)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), build("llama", layers=2).parameters(), strict=True))


@given(st.integers(1, 12), st.integers(1, 40))
@settings(max_examples=40, deadline=None)
def test_split_is_even(stages, depth):
    if stages > depth:
        with pytest.raises(PartError):
            split(stages, depth, "x")
        return
    lengths = split(stages, depth, "x")
    assert sum(lengths) == depth and len(lengths) == stages and max(lengths) - min(lengths) <= 1


def test_split_of_the_paper():
    assert split(5, 16, "x") == (3, 3, 4, 3, 3)


# Expanding the line -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("depth", [3, 4, 6, 8])
def test_any_depth_lies_on_the_learned_line(family, depth):
    model = learned(family, LINE, double=True)
    big = make(Start, "expand-line").build(model, config_of(family, layers=depth), 3)
    if depth == 4:
        assert torch.equal(logits(big.eval()), logits(model.float()))
        return
    old, new = blocks_of(model), blocks_of(big)
    for stack, blocks in new.items():
        assert len(blocks) == depth
        for i, block in enumerate(blocks):
            for path, value in block.items():
                if path not in old[stack][3]:  # t5's table of positions
                    assert i == 0 and torch.equal(value, old[stack][0][path].float())
                    continue
                # By hand, from the middle layers, which the part does not use.
                slope = 4 * (old[stack][2][path] - old[stack][1][path])
                expected = old[stack][1][path] + (i / depth - 1 / 4) * slope
                torch.testing.assert_close(value.double(), expected, rtol=1e-6, atol=1e-7)
    outside = {name for name, _ in big.named_parameters() if not any(name.startswith(f"{stack}.") for stack in new)}
    assert outside and all(torch.equal(big.get_parameter(name), model.get_parameter(name).float()) for name in outside)
    loss_of(big).backward()


def test_the_line_of_the_source_and_not_of_the_phase_before():
    model, other = learned("llama", LINE), build("llama", layers=4, seed=8)
    part = make(Start, {"expand-line": {"source": {"folder": "somewhere"}}})
    grown = part.build(other, config_of("llama", layers=6), 0, StartContext({"source": model}, None))
    assert torch.equal(blocks_of(grown)["model.layers"][0]["mlp.up_proj.weight"], blocks_of(model)["model.layers"][0]["mlp.up_proj.weight"])
    model.config.rope_parameters = {**model.config.rope_parameters, "rope_theta": 5e5}
    grown = part.build(None, config_of("llama", layers=3, dropout=0.1), 0, StartContext({"source": model}, None))
    assert grown.config.rope_parameters["rope_theta"] == 5e5 and grown.config.attention_dropout == 0.1
    assert grown.config.num_hidden_layers == 3


def test_expand_line_refuses():
    start, model = make(Start, "expand-line"), learned("llama", LINE)
    with pytest.raises(PartError, match="no phase before this one"):
        start.build(None, config_of("llama", layers=6), 0)
    with pytest.raises(PartError, match="has width 32 and this one 64; only layers may differ, set width: 32"):
        start.build(model, config_of("llama", layers=6, width=64), 0)
    with pytest.raises(PartError, match="set tied: true"):
        start.build(model, config_of("llama", layers=6, tied=False), 0)
    with torch.no_grad():
        blocks_of(model)["model.layers"][2]["mlp.up_proj.weight"][3, 4] += 1e-3
    with pytest.raises(PartError, match=r"not on a line: model.layers.*mlp.up_proj.weight of layer 2 is off by 0.001"):
        start.build(model, config_of("llama", layers=6), 0)
    with pytest.raises(PartError, match=r"not on a line.*structure: linear-layers"):
        start.build(build("gpt2", layers=3), config_of("gpt2", layers=6), 0)
    with pytest.raises(PartError, match=r"only layer 0 has it; learn the model with layers: 2 or more"):
        start.build(build("llama", layers=1), config_of("llama", layers=3), 0)
    with pytest.raises(PartError, match=r"attn_norm.weight.*only layer 1 has it; learn the model with layers: 3 or more"):
        start.build(learned("modernbert", LINE, layers=2), config_of("modernbert", layers=3), 0)
    with pytest.raises(PartError, match="positions"):
        start.build(learned("gpt2", LINE), config_of("gpt2", context=2 * LENGTH, layers=3), 0)


# Expanding stages ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_every_layer_is_its_stage(family):
    model = learned(family, STAGES)
    start = make(Start, {"expand-stages": STAGES["shared-stages"]})
    assert torch.equal(logits(start.build(model, config_of(family, layers=4), 3).eval()), logits(model))
    layouts = {2: [0, 1], 3: [0, 0, 1], 8: [0] * 6 + [1] * 2}
    shuffled = make(Start, {"expand-stages": {"stages": [3, 1], "order": [1, 0, 1, 1, 0]}})
    grown = {depth: start.build(model, config_of(family, layers=depth), 3) for depth in layouts}
    layouts[5], grown[5] = [1, 0, 1, 1, 0], shuffled.build(model, config_of(family, layers=5), 3)
    for depth, layout in layouts.items():
        for stack, blocks in blocks_of(grown[depth]).items():
            old = blocks_of(model)[stack]
            for i, block in enumerate(blocks):
                for path, value in block.items():
                    if path in old[3]:  # all but t5's table of positions
                        assert torch.equal(value, old[3 if layout[i] else 1][path]), (depth, i, path)
        # Copies are free of each other.
        assert len({value.data_ptr() for value in grown[depth].parameters()}) == len(list(grown[depth].parameters()))
    loss_of(grown[8]).backward()


@given(st.lists(st.integers(1, 6), min_size=1, max_size=6), st.integers(1, 40))
@settings(max_examples=60, deadline=None)
def test_copies_are_in_proportion(stages, depth):
    if depth < len(stages):
        with pytest.raises(PartError, match=f"set layers to at least {len(stages)}"):
            proportional(stages, depth)
        return
    copies = proportional(stages, depth)
    assert sum(copies) == depth and min(copies) >= 1
    if all(depth * length >= sum(stages) for length in stages):
        exact = [depth * length / sum(stages) for length in stages]
        assert all(-1 < count - share <= 1 for count, share in zip(copies, exact, strict=True))
        extra = [count - int(depth * length // sum(stages)) for count, length in zip(copies, stages, strict=True)]
        assert extra == sorted(extra, reverse=True)  # what remains goes to early stages
    assert proportional(stages, sum(stages)) == stages


def test_the_one_list_of_the_paper():
    order = [0, 0, 0, 1, 1, 1, 2, 2, 3, 3, 4, 4]
    part = make(Start, {"expand-stages": {"order": order}})
    assert list(part.layout((3, 3, 4, 3, 3), 12)) == order
    assert proportional([3] * 5, 12) == [3, 3, 2, 2, 2]


def test_expand_stages_refuses():
    start, model = make(Start, {"expand-stages": {"stages": 2}}), learned("llama", STAGES)
    with pytest.raises(PartError, match=r"blocks of stage 1 differ: model.layers.3.*equal blocks are stages: \[3, 1\]"):
        start.build(model, config_of("llama", layers=6), 0)
    start = make(Start, {"expand-stages": STAGES["shared-stages"]})
    with pytest.raises(PartError, match="1 layers are fewer than the 2 stages; set layers to at least 2"):
        start.build(model, config_of("llama", layers=1), 0)
    with pytest.raises(PartError, match="has heads 4 and this one 2; only layers may differ, set heads: 4"):
        start.build(model, config_of("llama", layers=6, heads=2), 0)
    for order, message in (([0, 1], "not of 6; set layers: 2"), ([0, 0, 0, 1, 1, 2], "names stage 2; the stages are 0 to 1")):
        with pytest.raises(PartError, match=message):
            make(Start, {"expand-stages": {"stages": [3, 1], "order": order}}).build(model, config_of("llama", layers=6), 0)
    with pytest.raises(PartError, match=r"are 5 blocks, and there are 4"):
        make(Start, {"expand-stages": {"stages": [3, 2]}}).build(model, config_of("llama", layers=6), 0)


# Selecting layers ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_selected_layers_are_those_of_the_source(family):
    model = shaken(build(family, layers=5))
    small = make(Start, "select-layers").build(model, config_of(family, layers=3), 0)
    for stack, blocks in blocks_of(small).items():
        for block, place in zip(blocks, (0, 2, 4), strict=True):
            assert all(torch.equal(value, blocks_of(model)[stack][place][path]) for path, value in block.items())
    loss_of(small).backward()


def test_selection_is_spread_or_as_said():
    part = make(Start, "select-layers")
    assert part.places(12, 6) == [0, 2, 4, 7, 9, 11] and part.places(8, 1) == [0] and part.places(9, 2) == [0, 8]
    assert make(Start, {"select-layers": {"layers": [1, 3]}}).places(4, 2) == [1, 3]
    for layers, old, new, message in (
        (None, 4, 4, "leaves none out; set layers below 4"),
        ([3, 1], 4, 2, "not ascending"),
        ([1, 4], 4, 2, "layers of 0 to 3"),
        ([1, 2, 3], 4, 2, "3 layers are chosen and the model has 2; set layers: 3"),
    ):
        with pytest.raises(PartError, match=message):
            make(Start, {"select-layers": {"layers": layers}}).places(old, new)


# Flown, and what a family costs -------------------------------------------------------------------------------------------------


def test_a_gene_learned_from_an_ancestor_begins_two_depths_and_its_cost_is_counted_once(tiny, stream, tmp_path, capsys, law):
    from windtunnel.train.run import fly

    soft = {"distillation": {"teacher": {"recipe": "ancestor"}, "weight": 1.0}}
    named = {
        "ancestor": {"model": {"layers": 3}, "budget": {"flops": 4e8}},
        "gene": {"model": {"layers": 4}, "budget": {"flops": 1.2e9}, "structure": "linear-layers", "losses": soft},
        "alone": {"budget": {"flops": 4e8}},
    }
    line = {"expand-line": {"source": {"recipe": "gene"}}}
    fields = {"recipes": named, "budget": {"flops": 2e9}, "evaluate_every": 1.0}
    recipes = {
        "baseline": tiny(**fields),
        "scratch-3": tiny(model={"layers": 3}, **fields),
        "line-2": tiny(start=line, **fields),
        "line-3": tiny(model={"layers": 3}, start=line, **fields),
        "again-2": tiny(start={"trained": {"model": {"recipe": "alone"}}}, **fields),
    }
    record = fly(recipes["line-3"], 0, stream, tmp_path / "line")
    assert record["status"] == "finished", record["traceback"]
    assert {one["flops"] for one in record["needed"].values()} != {0.0} and len(record["needed"]) == 2
    budgets = sorted(costs.own_costs(recipes["line-3"]).values())
    assert budgets == [4e8, 8e8]
    for spent, given_ in zip(sorted(one["flops"] for one in record["needed"].values()), budgets, strict=True):
        assert 0.5 * given_ < spent <= given_

    def block(flops):
        return {"flops": flops, "test": {"mean": 3.0}}

    result = {
        "format": 2,
        "runs": [],
        "study": {"metric": "bits_per_byte"},
        "stream": {"vocabulary": 512},
        "recipes": {name: recipe.model_dump(mode="json") for name, recipe in recipes.items()},
        "baseline": block(2e9),
        "arms": {name: block(1.9e9) for name in recipes if name != "baseline"},
    }
    path = tmp_path / "result.json"
    path.write_text(json.dumps(result), encoding="utf-8")
    assert law("family-cost", path) == 0
    found = json.loads(capsys.readouterr().out)["ways"]
    assert set(found) == {"scratch", "line", "again"}
    assert (
        found["scratch"]["flops"] == 3.9e9
        and found["scratch"]["stored_parameters"] == 0
        and found["scratch"]["depths"]["2"]["arm"] == "baseline"
    )
    assert found["line"]["once_flops"] == 1.2e9 and found["line"]["flops"] == pytest.approx(1.2e9 + 2 * 0.7e9)
    assert found["line"]["flops_unshared"] == 3.8e9 and found["line"]["against_scratch"] == pytest.approx(2.6 / 3.9)
    assert found["line"]["cheaper_from_depths"] == 1  # 0.7 a depth against 1.95, and 1.2 once: less than one further depth saves
    gene = build_of(4, stream)
    make(Structure, "linear-layers").apply(gene)
    assert found["line"]["stored_parameters"] == sum(value.numel() for value in gene.parameters()) and found["line"]["stored_models"] == 1
    assert found["again"]["stored_parameters"] == sum(value.numel() for value in build_of(2, stream).parameters())
    assert law("family-cost", path, "both=line-2,line-3") == 0 and "both" in json.loads(capsys.readouterr().out)["ways"]
    for wrong, message in (("x=line-2,again-2", "two arms of 2 layers"), ("x=lime-2", "did you mean 'line-2'"), ("line-2", "WAY=ARM")):
        assert law("family-cost", path, wrong) == 2 and message in capsys.readouterr().err
    steps = {
        **result,
        "recipes": {"line-2": tiny(start={"trained": {"model": {"recipe": {"budget": {"steps": 3}}}}}).model_dump(mode="json")},
    }
    with pytest.raises(UserError, match="counted in flops"):
        costs.family_cost(steps)


def build_of(layers: int, stream) -> nn.Module:
    from windtunnel.models.init import config_for
    from windtunnel.models.settings import ModelSettings

    return fresh(config_for(ModelSettings(depth=2, layers=layers, width=32, heads=2), stream.facts, 32), 0)


def test_random_tokens_make_every_layer_matter():
    """The line is not flat: a slope of zero gives other logits, so the tests above would see it."""
    model = learned("llama", LINE)
    flat = copy.deepcopy(model)
    blocks = blocks_of(flat)["model.layers"]
    with torch.no_grad():
        for block in blocks[1:]:
            for path, value in block.items():
                value.copy_(blocks[0][path])
    tokens = random_tokens(1, LENGTH)
    assert not torch.allclose(run(model, tokens).logits, run(flat, tokens).logits)
