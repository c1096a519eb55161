"""Width growth: exact where it must be, measured where it is not; and training of sub-depths."""

from __future__ import annotations

import copy
import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import FAMILIES, LENGTH, SIZE, VOCABULARY, random_tokens, run
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from windtunnel.core.errors import PartError
from windtunnel.core.registry import make
from windtunnel.kits.weights.widening import Units, columns_split, deviation, head_maps, layer_map, rows_taken, unit_map
from windtunnel.models.anatomy import anatomy
from windtunnel.models.init import config_for, fresh, generator
from windtunnel.models.load import load
from windtunnel.models.save import export
from windtunnel.models.settings import ModelSettings
from windtunnel.slots import Optimizer, Start, StartContext, Structure
from windtunnel.train.run import fly

SMALL = {"layers": 2, "width": 32, "heads": 4, "intermediate": 48}
DOUBLE = {"layers": 2, "width": 64, "heads": 8, "intermediate": 112}
GROUPED = ("llama", "qwen2", "qwen3")


def config_of(family: str, context: int = LENGTH, **sizes):
    return config_for(ModelSettings(family=family, **SMALL | sizes), VOCABULARY, context)


def small(family: str, seed: int = 0, config=None, **sizes) -> nn.Module:
    """A model with every weight moved away from what it is initialised to, in double precision, as are its norms."""
    model = fresh(config or config_of(family, **sizes), seed)
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn(weight.shape, generator=draw) * 0.1)
    return model.double()


def precise(model: nn.Module) -> nn.Module:
    """The model with norms that do not go through single precision, as those of transformers do."""

    def norm(module):
        epsilon = module.variance_epsilon
        return lambda states: module.weight * states * torch.rsqrt(states.square().mean(-1, keepdim=True) + epsilon)

    for module in model.modules():
        if type(module).__name__.endswith("RMSNorm") or type(module).__name__ == "T5LayerNorm":
            module.forward = norm(module)
    return model.eval()


def widen(old: nn.Module, config, previous=None, **knobs) -> nn.Module:
    given = StartContext({} if previous is None else {"source": old}, None)
    return make(Start, {"widen": knobs}).build(old if previous is None else previous, config, 0, given)


def quietly(old: nn.Module, config, **knobs) -> nn.Module:
    """Widen where a warning is expected."""
    with pytest.warns(UserWarning, match="is not the function of the old one"):
        return widen(old, config, **knobs)


@torch.no_grad()
def difference(old: nn.Module, new: nn.Module) -> float:
    tokens = random_tokens(2, LENGTH, seed=3)
    one, other = (run(precise(copy.deepcopy(model)), tokens).logits for model in (old, new))
    assert one.dtype == other.dtype == torch.float64
    return float((one - other).abs().max())


# Maps and formulas --------------------------------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(old=st.integers(1, 9), more=st.integers(0, 20), mapping=st.sampled_from(["even", "random"]), seed=st.integers(0, 99))
def test_maps_begin_with_the_old_units_and_even_ones_are_even(old, more, mapping, seed):
    units = unit_map(old, old + more, mapping, torch.Generator().manual_seed(seed))
    index = units.index.tolist()
    assert index[:old] == list(range(old)) and len(index) == old + more and set(index) == set(range(old))
    assert units.copies.tolist() == [index.count(unit) for unit in index]
    assert units.later.tolist() == [False] * old + [True] * more
    counts = [index.count(unit) for unit in range(old)]
    if mapping == "even":
        assert max(counts) - min(counts) <= 1 and (max(counts) == min(counts)) == (more % old == 0)


@settings(max_examples=30, deadline=None)
@given(shared=st.integers(1, 3), group=st.integers(1, 3), more=st.integers(0, 4), wider=st.integers(0, 3), seed=st.integers(0, 99))
def test_a_query_head_stays_with_its_own_key_and_value_head(shared, group, more, wider, seed):
    new_shared, new_group = shared + more, group + wider
    sizes = (shared * group, shared), (new_shared * new_group, new_shared)
    queries, keys = head_maps(*sizes, "random", torch.Generator().manual_seed(seed))
    for new, old in enumerate(queries.index.tolist()):
        assert keys.index[new // new_group] == old // group
    assert set(queries.index.tolist()) == set(range(shared * group))
    # Of the first copy of a group the old queries are the first; everything else is a copy.
    assert int((~queries.later).sum()) == shared * group and int((~keys.later).sum()) == shared


def test_expansion_is_the_formula_of_the_paper():
    """Inputs first, divided by how often each exists, then outputs; those of copies from the layer above. Written as the paper does."""
    below, above = torch.randn(5, 3, dtype=torch.float64), torch.randn(5, 3, dtype=torch.float64)
    inputs, outputs, outputs_above = [0, 1, 2, 1, 1, 0], [0, 1, 2, 3, 4, 4, 0], [0, 1, 2, 3, 4, 1, 2]
    expected = torch.empty(7, 6, dtype=torch.float64)
    for j in range(7):
        source, unit = (below, outputs[j]) if j < 5 else (above, outputs_above[j])
        for i in range(6):
            expected[j, i] = source[unit, inputs[i]] / inputs.count(inputs[i])
    columns, rows, rows_above = (Units(torch.tensor(index), old) for index, old in ((inputs, 3), (outputs, 5), (outputs_above, 5)))
    taken = rows_taken(columns_split(below, columns), rows, columns_split(above, columns), rows_above)
    assert torch.equal(taken, expected)


def test_noise_adds_up_to_nothing_and_has_the_size_asked_for():
    weight = torch.randn(400, 30, dtype=torch.float64)
    columns = unit_map(30, 80, "random", torch.Generator().manual_seed(1))
    plain, noisy = columns_split(weight, columns), columns_split(weight, columns, 0.25, torch.Generator().manual_seed(2))
    noise = noisy - plain
    for unit in range(30):
        assert noise[:, columns.index == unit].sum(1).abs().max() < 1e-12
    alone = columns.copies == 1
    assert alone.any() and (noise[:, alone] == 0).all()
    assert float(noise[:, ~alone].std() / plain.square().mean().sqrt()) == pytest.approx(0.25, rel=0.02)


def test_depth_is_whole_copies_and_then_the_top():
    assert layer_map(3, 8) == [0, 1, 2, 0, 1, 2, 1, 2] and layer_map(4, 4) == [0, 1, 2, 3] and layer_map(3, 4) == [0, 1, 2, 2]


# What is exact ------------------------------------------------------------------------------------------------------------------


@settings(max_examples=24, deadline=None)
@given(
    family=st.sampled_from(FAMILIES),
    tied=st.booleans(),
    factor=st.sampled_from([1, 2, 3]),
    inner=st.integers(48, 120),
    mapping=st.sampled_from(["even", "random"]),
    noise=st.sampled_from([0.0, 0.3]),
    seed=st.integers(0, 3),
)
def test_preserving_is_exact_where_hidden_units_are_copied_equally_often(family, tied, factor, inner, mapping, noise, seed):
    tied = tied or family == "t5"
    mapping = "even" if factor > 1 else mapping  # with the width unchanged any map of inner units will do
    inner += factor == 1
    old = small(family, seed, tied=tied)
    wanted = config_of(family, tied=tied, width=32 * factor, heads=4 * factor, intermediate=inner)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        new = widen(old, wanted, mapping=mapping, noise=noise, map_seed=seed)
    assert new.config.hidden_size == 32 * factor and anatomy(new).tied == tied and anatomy(new).blocks[0].mlp.up.shape[0] == inner
    assert difference(old, new) < 1e-10
    if factor == 2 and family in ("llama", "gpt2"):  # to be sure that this test can fail
        with torch.no_grad():
            next(iter(anatomy(new).embeddings.values())).weight[:, 40] *= 1.01
        assert difference(old, new) > 1e-6


@pytest.mark.parametrize("family", GROUPED)
@pytest.mark.parametrize(
    ("before", "after"), [((4, 2), (8, 4)), ((4, 2), (8, 2)), ((4, 1), (8, 2)), ((4, 4), (8, 4)), ((4, 2), (8, 3 + 1))]
)
def test_grouped_queries_grow_exactly(family, before, after):
    old = small(family, heads=before[0], key_value_heads=before[1])
    new = widen(old, config_of(family, **DOUBLE | {"heads": after[0], "key_value_heads": after[1]}))
    assert new.config.num_key_value_heads == after[1]
    assert difference(old, new) < 1e-10


@pytest.mark.parametrize("mapping", ["even", "random"])
def test_heads_alone_grow_exactly_whatever_the_map(mapping):
    config = config_of("llama", heads=4, key_value_heads=2)
    wanted = copy.deepcopy(config)
    wanted.num_attention_heads, wanted.num_key_value_heads = 16, 4  # of 8 dimensions still, which no recipe could write
    old = small("llama", config=config)
    new = widen(old, wanted, mapping=mapping, noise=0.2)
    assert anatomy(new).blocks[0].attention.q.shape == (128, 32)
    assert difference(old, new) < 1e-10


@pytest.mark.parametrize("family", FAMILIES)
def test_each_family_keeps_what_no_recipe_sizes_and_leaves_the_old_model_alone(family, tmp_path):
    config = config_of(family)
    for name in ("rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon", "norm_eps"):
        if hasattr(config, name):
            setattr(config, name, 1e-3)
    if family in GROUPED:
        config.rope_parameters = config.rope_parameters | {"rope_theta": 300.0}
    old = small(family, config=config)
    before = {name: value.clone() for name, value in old.state_dict().items()}
    new = widen(old, config_of(family, **DOUBLE, dropout=0.1))
    assert difference(old, new) < 1e-10  # a wrong epsilon or rotation would show
    assert all(torch.equal(value, before[name]) for name, value in old.state_dict().items())
    run(new.float(), random_tokens(2, LENGTH)).logits.sum().backward()
    assert all(weight.grad is not None for weight in new.parameters()) and new.training
    loaded = load(export(new, tmp_path / "model"))
    assert all(torch.equal(value, new.state_dict()[name]) for name, value in loaded.state_dict().items())


# What is not --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    ("sizes", "knobs", "reason"),
    [
        ({"width": 48, "heads": 6}, {}, "width 32 to 48 does not copy every hidden unit equally often"),
        ({"width": 64, "heads": 8}, {"mapping": "random"}, "does not copy every hidden unit equally often"),
        ({"width": 64, "heads": 8, "layers": 5}, {}, "layers were added"),
        ({"width": 64, "heads": 8}, {"method": "advanced"}, "copies come from the layer above"),
    ],
)
def test_what_is_not_exact_is_measured(family, sizes, knobs, reason):
    old = small(family).float()
    with pytest.warns(UserWarning) as seen:
        new = widen(old, config_of(family, **sizes), **knobs)
    (message,) = [str(warning.message) for warning in seen if "widen" in str(warning.message)]
    assert reason in message
    tokens = torch.randint(SIZE, (2, 16), generator=generator(0, "tokens"))
    with torch.no_grad():
        one, other = (run(model.eval(), tokens).logits for model in (old, new))
    measured = float((one - other).abs().max() / one.std())
    assert deviation(old, new) == pytest.approx(measured, rel=1e-5) and measured > 1e-3
    assert f"up to {measured:.2g} standard deviations" in message


def rows_of(matrix, size: int = 1) -> torch.Tensor:
    return matrix.get().view(matrix.shape[0] // size, size, -1)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("mapping", ["even", "random"])
def test_advanced_takes_copies_from_the_layer_above_and_whole(family, mapping):
    """Each new head and inner unit is one of the layer above, with all its matrices; in the top layer one of its own."""
    old = small(family, layers=3)
    new = quietly(old, config_of(family, **DOUBLE | {"layers": 3}), method="advanced", mapping=mapping)
    spread = unit_map(32, 64, mapping, generator(0, "width"))
    if mapping == "even":
        assert spread.index.tolist() == [*range(32), *range(32)]
    for stack, blocks in anatomy(new).stacks.items():
        sources = anatomy(old).stacks[stack]
        for number, block in enumerate(blocks):
            above = sources[min(number + 1, len(sources) - 1)]
            for part, first in (("attention", 4), ("cross", 4), ("mlp", 48)):
                one, own, upper = (getattr(each, part) for each in (block, sources[number], above))
                if one is None:
                    continue
                names, size = (("q", "k", "v"), 8) if part != "mlp" else (("gate", "up") if one.gate else ("up",), 1)
                matched = None
                for name in names:
                    rows = rows_of(getattr(one, name), size)
                    inside, outside = (columns_split(getattr(each, name).get(), spread).view(-1, size, 64) for each in (own, upper))
                    assert torch.equal(rows[:first], inside)
                    found = [{unit for unit in range(first) if torch.equal(row, outside[unit])} for row in rows[first:]]
                    assert all(len(units) == 1 for units in found)
                    assert matched is None or matched == found  # the query of one head does not get the keys of another
                    matched = found


def test_advanced_with_grouped_queries_takes_groups_whole_and_extra_queries_into_their_group():
    old = small("llama", key_value_heads=2)
    new = quietly(old, config_of("llama", **DOUBLE | {"key_value_heads": 2}), method="advanced")
    spread = Units(torch.arange(64) % 32, 32)
    first, upper = (columns_split(block.attention.q.get(), spread).view(4, 8, 64) for block in anatomy(old).blocks)
    rows = rows_of(anatomy(new).blocks[0].attention.q, 8)
    for group in range(2):
        assert torch.equal(rows[4 * group : 4 * group + 2], first[2 * group : 2 * group + 2])
        for row in rows[4 * group + 2 : 4 * group + 4]:
            assert any(torch.equal(row, upper[unit]) for unit in (2 * group, 2 * group + 1))
    assert torch.equal(anatomy(new).blocks[0].attention.k.get(), columns_split(anatomy(old).blocks[0].attention.k.get(), spread))


def test_the_layer_above_is_the_old_models_and_depth_comes_after_width():
    old = small("gpt2", layers=3)
    wide = quietly(old, config_of("gpt2", **DOUBLE | {"layers": 3}), method="advanced", noise=0.1)
    deep = quietly(old, config_of("gpt2", **DOUBLE | {"layers": 8}), method="advanced", noise=0.1)
    weights, wider = deep.state_dict(), wide.state_dict()
    for name, value in weights.items():
        if name.startswith("transformer.h."):
            index, rest = name.removeprefix("transformer.h.").split(".", 1)
            name = f"transformer.h.{[0, 1, 2, 0, 1, 2, 1, 2][int(index)]}.{rest}"
        assert torch.equal(value, wider[name])


def test_copies_of_the_first_layer_of_modernbert_get_a_norm_of_ones():
    new = quietly(small("modernbert"), config_of("modernbert", **DOUBLE | {"layers": 5}))
    norms = [block.norms.get("attention") for block in anatomy(new).blocks]
    assert [norm is None for norm in norms] == [True, False, False, False, False]
    assert [bool((norm.weight == 1).all()) for norm in norms[1:]] == [False, True, False, False]
    assert new.config.layer_types == [small("modernbert").config.layer_types[place] for place in (0, 1, 0, 1, 1)]


def test_copies_stay_copies_unless_something_makes_them_differ():
    """Exact copies get equal gradients; noise and the layer above break that."""

    def apart(**knobs) -> float:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            new = precise(widen(small("llama"), config_of("llama", **DOUBLE | {"intermediate": 96}), **knobs))
        tokens = random_tokens(2, LENGTH)
        nn.functional.cross_entropy(run(new, tokens).logits.flatten(0, 1), tokens.flatten()).backward()
        gradient = anatomy(new).blocks[0].mlp.up.module.weight.grad
        return float((gradient[:48] - gradient[48:]).abs().max() / gradient.abs().max())

    assert apart() < 1e-9 and apart(noise=0.1) > 1e-2 and apart(method="advanced") > 1e-2


def test_the_seed_of_the_map_decides_and_the_runs_does_not():
    def weights(seed: int, run_seed: int) -> dict[str, torch.Tensor]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            start = make(Start, {"widen": {"mapping": "random", "noise": 0.1, "map_seed": seed}})
            return start.build(small("bert"), config_of("bert", width=48, heads=6), run_seed).state_dict()

    one, same, other = weights(0, 1), weights(0, 2), weights(1, 1)
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["bert.embeddings.word_embeddings.weight"], other["bert.embeddings.word_embeddings.weight"])


def test_a_model_of_its_own_comes_before_that_of_the_phase_before():
    old = small("llama", 1)
    new = widen(old, config_of("llama", **DOUBLE), previous=small("llama", 2))
    assert difference(old, new) < 1e-10


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ({}, {"width": 16, "heads": 2}, "width 32 cannot become 16"),
        ({}, {"layers": 1, "width": 64, "heads": 8}, "layers 2 cannot become 1"),
        ({}, {"intermediate": 32}, "intermediate 48 cannot become 32"),
        ({}, {"width": 64}, r"heads have 8 dimensions and keep them.*makes them 16; set heads: 8"),
        ({}, {"width": 60, "heads": 6}, r"set a width that is a multiple of 8, such as 64"),
        ({}, {}, r"already has these sizes \(layers: 2, width: 32, heads: 4, key_value_heads: 4, intermediate: 48\)"),
        ({"key_value_heads": 2}, {"width": 64, "heads": 8, "key_value_heads": 8}, r"with 8 heads these would do: key_value_heads: 2, 4"),
        ({"key_value_heads": 4}, {"width": 64, "heads": 8, "key_value_heads": 2}, "key_value_heads 4 cannot become 2"),
        ({"tied": False}, {"width": 64, "heads": 8}, "tied False"),
        ({}, {"family": "qwen2", "width": 64, "heads": 8}, "family llama"),
    ],
)
def test_impossible_growth_is_refused_and_says_what_would_do(before, after, message):
    with pytest.raises(PartError, match=message):
        widen(small("llama", **before), config_of(**{"family": "llama"} | after))


def test_growth_without_a_model_or_with_other_words_or_more_positions_is_refused():
    with pytest.raises(PartError, match="no phase before"):
        make(Start, "widen").build(None, config_of("llama", **DOUBLE), 0)
    other = config_of("llama", **DOUBLE)
    other.vocab_size += 1
    with pytest.raises(PartError, match="vocabulary"):
        widen(small("llama"), other)
    with pytest.raises(PartError, match="positions"):
        widen(small("gpt2"), config_of("gpt2", context=2 * LENGTH, **DOUBLE))
    longer = widen(small("llama"), config_of("llama", context=2 * LENGTH, **DOUBLE))
    assert longer.config.max_position_embeddings >= 2 * LENGTH


# Sub-depths ---------------------------------------------------------------------------------------------------------------------

SINGLE = [family for family in FAMILIES if family != "t5"]


def truncated(model: nn.Module, depth: int) -> nn.Module:
    """The bottom of ``model`` as a network of its own."""
    view = anatomy(model)
    bottom = fresh(config_of(view.family, layers=depth, tied=view.tied), 7)
    bottom.load_state_dict({name: value for name, value in model.state_dict().items() if name in bottom.state_dict()})
    return bottom


def learners(model: nn.Module) -> set[str]:
    return {name for name, weight in model.named_parameters() if weight.grad is not None}


@pytest.mark.parametrize("family", SINGLE)
@pytest.mark.parametrize("tied", [True, False])
def test_a_sub_depth_is_the_bottom_with_the_shared_head_and_learns_at_its_top(family, tied):
    model = small(family, layers=4, tied=tied).float()
    names, whole = list(model.state_dict()), run(model, random_tokens(2, LENGTH)).logits
    whole.sum().backward()
    every = learners(model)  # an untied bert has a bias that nothing uses
    part = make(Structure, {"sub-depths": {"layers": 1}})
    part.apply(model)
    assert part.variants(model) == 4
    tokens, view = random_tokens(2, LENGTH), anatomy(model)
    for variant in (2, 0, 3, 1):
        part.take(model, variant)
        model.zero_grad()
        logits = run(model, tokens).logits
        assert torch.equal(logits, run(truncated(model, variant + 1), tokens).logits)
        nn.functional.cross_entropy(logits.flatten(0, 1), tokens.flatten()).backward()
        learning = learners(model)
        inside = {name for name, _ in model.named_parameters() if name.startswith(f"{view.blocks[variant].name}.")}
        other = {f"{block.name}." for block in view.blocks if block.index != variant}
        assert inside <= learning and not any(name.startswith(tuple(other)) for name in learning)
        table = next(iter(view.embeddings))
        assert (table in learning) == (tied or variant == 0)
        assert all((name in learning) == (variant == 0) for name in list(view.embeddings)[1:])
        assert view.head.parameter in learning or tied
        assert all(f"{name}.weight" in learning for name in (*view.final_norms, *view.head_norms))
        assert list(model.state_dict()) == names
    part.remove(model)
    model.zero_grad()
    logits = run(model, tokens).logits
    assert torch.equal(logits, whole)
    logits.sum().backward()
    assert learners(model) == every


def test_a_tied_table_learns_as_head_alone_where_the_bottom_only_computes():
    """Its gradient is that of a head beside constant inputs."""
    model, tokens = small("llama", layers=2), random_tokens(2, LENGTH)
    part = make(Structure, {"sub-depths": {"layers": 1}})
    part.take(model, 1)
    seen = {}
    handle = model.model.norm.register_forward_hook(lambda module, inputs, output: seen.update(states=output.detach()))
    nn.functional.cross_entropy(run(model, tokens).logits.flatten(0, 1), tokens.flatten()).backward()
    handle.remove()
    head = model.lm_head.weight.detach().clone().requires_grad_()
    nn.functional.cross_entropy((seen["states"] @ head.T).flatten(0, 1), tokens.flatten()).backward()
    assert torch.allclose(model.lm_head.weight.grad, head.grad, atol=1e-12)


def test_what_is_not_there_or_only_computes_costs_accordingly():
    model, tokens = small("gpt2", layers=4).float(), random_tokens(2, LENGTH)
    part = make(Structure, {"sub-depths": {"layers": 2}})
    costs = []
    for variant in (0, 1):
        part.take(model, variant)
        with FlopCounterMode(display=False) as counter:
            nn.functional.cross_entropy(run(model, tokens).logits.flatten(0, 1), tokens.flatten()).backward()
        costs.append(counter.get_total_flops())
    part.remove(model)
    with FlopCounterMode(display=False) as counter:
        run(model, tokens)
    forward = counter.get_total_flops()
    head = 2 * 2 * LENGTH * 32 * SIZE
    halves = (forward - head) // 2  # the forward pass of two layers
    assert costs[1] - costs[0] == pytest.approx(halves, rel=0.01)  # two more layers, forward only
    assert costs[0] == pytest.approx(3 * (halves + head), rel=0.05)


def test_the_optimizer_leaves_what_did_not_learn_and_copies_compute_with_their_own_weights():
    model, tokens = small("llama", layers=4).float(), random_tokens(2, LENGTH)
    part = make(Structure, {"sub-depths": {"layers": 2}})
    part.apply(model)
    part.take(model, 1)
    optimizer = make(Optimizer, {"adamw": {"weight_decay": 0.5}}).build(model, 0.1)  # built at any variant it knows every weight
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(list(model.parameters()))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    nn.functional.cross_entropy(run(model, tokens).logits.flatten(0, 1), tokens.flatten()).backward()
    optimizer.step()
    moved = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert not any(name.startswith(("model.layers.0.", "model.layers.1.")) for name in moved)
    assert {f"model.layers.{index}.self_attn.q_proj.weight" for index in (2, 3)} <= moved and "model.norm.weight" in moved
    again = make(Optimizer, {"adamw": {"weight_decay": 0.5}}).build(model, 0.1)
    again.load_state_dict(optimizer.state_dict())  # moments of some weights only
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for weight in twin.parameters():
            weight.zero_()
    assert (run(twin, tokens).logits == 0).all()


def test_sub_depths_refuse_what_they_cannot_cut():
    with pytest.raises(PartError, match="bottoms of 3 layers do not add up to 4; these do: 1, 2, 4"):
        make(Structure, "sub-depths").apply(small("llama", layers=4))
    with pytest.raises(PartError, match="encoder and a decoder"):
        make(Structure, {"sub-depths": {"layers": 1}}).apply(small("t5"))
    whole = make(Structure, {"sub-depths": {"layers": 2}})
    model = small("llama")
    whole.apply(model)
    assert whole.variants(model) == 1
    whole.take(model, 0)
    run(model, random_tokens(1, LENGTH)).logits.sum().backward()
    assert all(weight.grad is not None for weight in model.parameters())


@pytest.mark.filterwarnings("ignore:widen")
def test_two_stages_after_growth_fly_and_resume(tiny, stream, tmp_path):
    model = {"family": "gpt2", "depth": 2, "layers": 2, "width": 32, "heads": 2}
    wide = model | {"width": 64, "heads": 4}
    recipe = tiny(
        model=model,
        budget={"steps": 12},
        phases=[
            {"share": 0.25},
            {"share": 0.5, "model": wide, "start": {"widen": {"method": "advanced"}}, "structure": {"sub-depths": {"layers": 1}}},
            {"share": 0.25, "model": wide},
        ],
    )
    undisturbed = fly(recipe, 0, stream, tmp_path / "whole")
    assert undisturbed["status"] == "finished", undisturbed["traceback"]
    calls = iter([False] * 5 + [True])
    assert fly(recipe, 0, stream, tmp_path / "cut", stop=lambda: next(calls, True))["status"] == "interrupted"
    resumed = fly(recipe, 0, stream, tmp_path / "cut")
    assert resumed["test"] == undisturbed["test"]
