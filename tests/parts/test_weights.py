"""Starts and structures: what they copy, what they hold at zero, and what they refuse."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import DECODERS, FAMILIES, LENGTH, build, config_of, moved, packed, run
from torch import nn

from windtunnel.core.errors import PartError
from windtunnel.core.registry import make
from windtunnel.models.anatomy import anatomy, linears
from windtunnel.models.save import export
from windtunnel.slots import Start, Structure


def loss_of(model: nn.Module) -> torch.Tensor:
    tokens, documents = packed()
    return nn.functional.cross_entropy(run(model, tokens, documents).logits.flatten(0, 1), tokens.flatten())


# Starts -------------------------------------------------------------------------------------------------------------------------


def test_scratch_forgets_the_phase_before():
    config = config_of("llama")
    one, other = (make(Start, "scratch").build(previous, config, 5) for previous in (None, moved(build("llama"))))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("layout", ["stack", "interleave"])
def test_stack_copies_each_layer_to_its_places(family, layout):
    small = moved(build(family, seed=1))
    before = {name: value.clone() for name, value in small.state_dict().items()}
    big = make(Start, {"stack": {"factor": 3, "layout": layout}}).build(small, config_of(family, layers=6), 9)
    assert big.config.num_hidden_layers == 6
    weights, fresh_ones = big.state_dict(), []
    for name, value in weights.items():
        source = name
        for stack in anatomy(big).stacks:
            if name.startswith(f"{stack}."):
                index, _, rest = name.removeprefix(f"{stack}.").partition(".")
                source = f"{stack}.{int(index) % 2 if layout == 'stack' else int(index) // 3}.{rest}"
        if source in before:
            assert torch.equal(value, before[source]), name
        else:
            fresh_ones.append(name)
    # modernbert's first block has no norm before its attention, so the blocks copied from it get fresh ones.
    missing = {"stack": (2, 4), "interleave": (1, 2)}[layout] if family == "modernbert" else ()
    assert fresh_ones == [f"model.layers.{i}.attn_norm.weight" for i in missing]
    assert all((weights[name] == 1).all() for name in fresh_ones)
    indices = [module.layer_idx for name, module in big.named_modules() if hasattr(module, "layer_idx") and "cross" not in name.lower()]
    assert set(indices) == set(range(6))  # attributes of a layer's place are those of its new place
    if family == "modernbert":
        assert [layer.attention_type for layer in big.model.layers] == big.config.layer_types
    assert all(torch.equal(value, before[name]) for name, value in small.state_dict().items())
    head, embedding = big.get_output_embeddings().weight, big.get_input_embeddings().weight
    assert head is embedding
    loss_of(big).backward()


def test_stack_refuses_what_does_not_fit():
    stack = make(Start, {"stack": {"factor": 2}})
    with pytest.raises(PartError, match="no phase before"):
        stack.build(None, config_of("llama", layers=4), 0)
    small = build("llama")
    for wrong, message in (
        ({"layers": 6}, r"set layers: 4 or factor: 3"),
        ({"layers": 5}, r"not 5; set layers: 4$"),
        ({"layers": 4, "width": 64}, "width 32 and this one 64"),
        ({"layers": 4, "heads": 2}, "heads 4 and this one 2"),
        ({"layers": 4, "intermediate": 64}, "intermediate"),
        ({"layers": 4, "tied": False}, "tied True and this one False"),
    ):
        with pytest.raises(PartError, match=message):
            stack.build(small, config_of("llama", **wrong), 0)
    with pytest.raises(PartError, match="family llama and this one qwen2"):
        stack.build(small, config_of("qwen2", layers=4), 0)
    other = config_of("llama", layers=4)
    other.vocab_size += 1
    with pytest.raises(PartError, match="vocabulary"):
        stack.build(small, other, 0)
    with pytest.raises(PartError, match="same context"):
        stack.build(build("gpt2"), config_of("gpt2", context=2 * LENGTH, layers=4), 0)


@pytest.mark.parametrize("family", FAMILIES)
def test_checkpoint_starts_from_the_folder(family, tmp_path):
    model = moved(build(family)).eval()
    export(model, tmp_path)
    again = make(Start, {"checkpoint": str(tmp_path)}).build(None, config_of(family), 0)
    tokens, documents = packed()
    assert torch.equal(run(again.eval(), tokens, documents).logits, run(model, tokens, documents).logits)


def test_checkpoint_refuses_another_shape_by_name(tmp_path):
    export(build("llama"), tmp_path)
    start = make(Start, {"checkpoint": str(tmp_path)})
    for wrong, message in (
        ({"layers": 4}, "layers is 2 there and 4 in the recipe"),
        ({"width": 64}, "width is 32 there and 64"),
        ({"tied": False}, "tied is True there and False"),
    ):
        with pytest.raises(PartError, match=message):
            start.build(None, config_of("llama", **wrong), 0)
    with pytest.raises(PartError, match=r"family is llama there and gpt2.*write `model: \{family: llama, layers: 2, width: 32"):
        start.build(None, config_of("gpt2"), 0)
    other = config_of("llama")
    other.vocab_size = 170
    with pytest.raises(PartError, match="vocabulary has 160 tokens, the stream's 170"):
        start.build(None, other, 0)
    with pytest.raises(PartError, match="no such folder"):
        make(Start, {"checkpoint": str(tmp_path / "x")}).build(None, config_of("llama"), 0)


def test_checkpoint_refuses_too_few_learned_positions(tmp_path):
    export(build("gpt2"), tmp_path)
    with pytest.raises(PartError, match="positions"):
        make(Start, {"checkpoint": str(tmp_path)}).build(None, config_of("gpt2", context=2 * LENGTH), 0)


# Fixed mask ---------------------------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(st.floats(0, 0.99), st.integers(1, 30), st.integers(1, 30), st.integers(0, 5), st.text(max_size=5))
def test_the_mask_counts_exactly_and_depends_on_seed_and_name_alone(sparsity, rows, columns, seed, name):
    part = make(Structure, {"fixed-mask": {"sparsity": sparsity, "seed": seed}})
    mask = part.mask(name, (rows, columns))
    assert mask.shape == (rows, columns) and int((~mask).sum()) == round(rows * columns * sparsity)
    torch.manual_seed(seed + 1)
    assert torch.equal(mask, part.mask(name, (rows, columns)))


def test_masks_are_spread_evenly_and_differ_by_name_and_seed():
    one, other = (make(Structure, {"fixed-mask": {"sparsity": 0.5, "seed": seed}}) for seed in (0, 1))
    mask = one.mask("a", (200, 200))
    for wrong in (one.mask("b", (200, 200)), other.mask("a", (200, 200))):
        assert 0.45 < (mask == wrong).float().mean() < 0.55
    assert (mask.float().mean(0) - 0.5).abs().max() < 0.2 and (mask.float().mean(1) - 0.5).abs().max() < 0.2


@pytest.mark.parametrize("family", FAMILIES)
def test_masked_weights_are_zero_and_stay_zero_and_the_rest_trains(family):
    structure = make(Structure, {"fixed-mask": {"sparsity": 0.75}})
    model = moved(build(family))
    dense = {name: value.clone() for name, value in model.state_dict().items()}
    structure.apply(model)
    assert structure.density(model) == pytest.approx(0.25, abs=1e-3)
    masks = {name: module.weight_mask for name, module in linears(model).items()}
    assert {f"{name}.weight_mask" for name in masks} == set(model.state_dict()) - set(dense)
    for name, value in model.named_parameters():
        owner = name.rpartition(".")[0]
        expected = dense[name] * masks[owner] if owner in masks and name.endswith("weight") else dense[name]
        assert torch.equal(value, expected), name  # embeddings, head, norms and biases are dense
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.1)
    for _ in range(2):
        loss_of(model).backward()
        for name, module in linears(model).items():
            assert (module.weight.grad[~masks[name]] == 0).all() and (module.weight.grad[masks[name]] != 0).any()
        optimizer.step()
        structure.constrain(model)
        optimizer.zero_grad()
    assert all((module.weight[~masks[name]] == 0).all() for name, module in linears(model).items())
    with torch.no_grad():  # an update that mixes directions, as Muon's
        for module in linears(model).values():
            module.weight.add_(1.0)
    structure.constrain(model)
    assert all(
        (module.weight[~masks[name]] == 0).all() and (module.weight[masks[name]] != 0).any() for name, module in linears(model).items()
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_removal_leaves_the_function_and_frees_the_weights(family, tmp_path):
    structure = make(Structure, {"fixed-mask": {"sparsity": 0.5}})
    model = build(family).eval()
    structure.apply(model)
    with pytest.raises(PartError, match="carries a structure"):
        export(model, tmp_path / "a")
    tokens, documents = packed()
    before = run(model, tokens, documents).logits
    structure.remove(model)
    assert torch.equal(run(model, tokens, documents).logits, before)
    assert set(model.state_dict()) == set(build(family).state_dict())
    loss_of(model).backward()
    assert all(((module.weight == 0) & (module.weight.grad != 0)).any() for module in linears(model).values())
    export(model, tmp_path / "b")
    with pytest.raises(PartError, match="no mask is in place"):
        structure.constrain(model)
    structure.apply(model)  # and it can be put on again


def test_loaded_masks_are_the_ones_that_act():
    one, other = (make(Structure, {"fixed-mask": {"sparsity": 0.5, "seed": seed}}) for seed in (0, 1))
    model, restored = moved(build("llama")), build("llama")
    one.apply(model)
    other.apply(restored)
    restored.load_state_dict(copy.deepcopy(model.state_dict()))
    loss_of(model).backward()
    loss_of(restored).backward()
    for (name, a), (_, b) in zip(model.named_parameters(), restored.named_parameters(), strict=True):
        assert torch.equal(a.grad, b.grad), name
    other.constrain(restored)
    assert all(torch.equal(value, restored.state_dict()[name]) for name, value in model.state_dict().items())


def test_no_sparsity_is_plain_training():
    plain, masked = build("llama"), build("llama")
    make(Structure, {"fixed-mask": {"sparsity": 0.0}}).apply(masked)
    for model in (plain, masked):
        loss_of(model).backward()
    assert all(torch.equal(a.grad, b.grad) for a, b in zip(plain.parameters(), masked.parameters(), strict=True))


def test_the_same_positions_in_models_of_other_depth_and_seed():
    structure = make(Structure, "fixed-mask")
    one, other = build("llama"), build("llama", layers=3, seed=4)
    structure.apply(one)
    structure.apply(other)
    for name, module in linears(one).items():
        assert torch.equal(module.weight_mask, linears(other)[name].weight_mask)


def test_a_second_mask_is_refused():
    structure, model = make(Structure, "fixed-mask"), build(DECODERS[0])
    structure.apply(model)
    with pytest.raises(PartError, match="already has a mask"):
        structure.apply(model)


def test_masks_survive_a_copy_of_the_model():
    structure, model = make(Structure, {"fixed-mask": {"sparsity": 0.5}}), build("llama")
    structure.apply(model)
    twin = copy.deepcopy(model)
    structure.constrain(twin)
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), twin.state_dict().values(), strict=True))
