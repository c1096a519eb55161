"""Adapters: they begin as the model, merging leaves it what it was, peft agrees, and what AdaLoRA needs reaches loss and checkpoint."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tiny_models import build, random_tokens, run

from windtunnel.core.errors import PartError
from windtunnel.core.registry import make
from windtunnel.kits.weights.adapters import Triplets, adapters, low_rank_changes, write_peft
from windtunnel.parts.structure.adalora import allocate
from windtunnel.slots import Progress, Structure
from windtunnel.train.run import fly

TOKENS = random_tokens(2, 12)


def structure(kind: str, **knobs: Any) -> Any:
    own = {"partial-columns": {"columns": 3}, "scale-shift": {}}
    return make(Structure, {kind: own.get(kind, {"rank": 3}) | knobs})


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return run(model, TOKENS).logits


def moved(model: Any) -> Any:
    """The model with everything that trains changed, as training would."""
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight.add_(torch.randn_like(weight) * 0.1)
    return model


@pytest.mark.parametrize(
    ("kind", "family", "knobs"),
    [
        ("lora", "llama", {"head": True}),
        ("lora", "gpt2", {"targets": "attention"}),
        ("lora", "gpt2", {"side": "both"}),
        ("lora", "llama", {"side": "output"}),
        ("miss", "gpt2", {}),
        ("miss", "gpt2", {"share": "blocks", "rank": 4}),
        ("partial-columns", "gpt2", {}),
        ("scale-shift", "gpt2", {}),
        ("scale-shift", "llama", {"shift": False}),
        ("adalora", "bert", {"rank": 2}),
        ("svd-core", "llama", {"train": "core"}),
        ("svd-core", "gpt2", {"basis": "bottom"}),
        ("svd-core", "llama", {"train": "core-and-up", "basis": "random", "targets": "queries-values"}),
    ],
)
def test_it_begins_as_the_model_and_merging_changes_nothing(kind, family, knobs):
    model = build(family, tied=True) if knobs.get("head") else build(family)
    before, embedding = logits(model), model.get_input_embeddings().weight.detach().clone()
    part = structure(kind, **knobs)
    part.apply(model)
    assert torch.allclose(logits(model), before, atol=1e-6)
    trained = [name for name, weight in model.named_parameters() if weight.requires_grad]
    shapes = ("left", "right", "values", "core", "up", "input_left", "input_right", "block", "blocks", "columns", "scale", "shift")
    assert trained and all(name.rpartition(".")[2] in shapes or kind == "scale-shift" for name in trained)
    part.constrain(moved(model), None)
    adapted = logits(model)
    assert not torch.allclose(adapted, before, atol=1e-3)
    part.remove(model)
    assert torch.allclose(logits(model), adapted, atol=1e-5)
    assert all(weight.requires_grad for weight in model.parameters())
    assert torch.equal(model.get_input_embeddings().weight, embedding), "merging has changed what goes in"


def test_an_adapter_of_a_tied_head_survives_export(tmp_path):
    from windtunnel.models.load import load
    from windtunnel.models.save import export

    model, part = build("llama", tied=True), structure("lora", head=True)
    part.apply(model)
    adapted = logits(moved(model))
    part.remove(model)
    assert torch.allclose(logits(load(export(model, tmp_path / "model"))), adapted, atol=1e-5)


@pytest.mark.parametrize(("family", "head"), [("llama", True), ("gpt2", False)])
def test_peft_loads_the_adapter_with_equal_logits(tmp_path, family, head):
    peft = pytest.importorskip("peft")
    base, model = build(family, tied=True), build(family, tied=True)
    part = structure("lora", head=head)
    part.apply(model)
    moved(model)
    part.remove(model)
    write_peft(tmp_path, "base", low_rank_changes(base, model, 3), family == "gpt2", "CAUSAL_LM")
    loaded = peft.PeftModel.from_pretrained(base, tmp_path).get_base_model()
    assert torch.allclose(logits(loaded), logits(model), atol=1e-4)
    with pytest.raises(PartError, match="not of rank 2"):
        low_rank_changes(build(family, tied=True), model, 2)


def test_its_step_is_that_of_peft():
    """The same factors give the same logits and the same gradients."""
    peft = pytest.importorskip("peft")
    model, other = build("llama"), build("llama")
    structure("lora", alpha=5, targets="mlp").apply(model)
    moved(model)
    theirs = peft.get_peft_model(other, peft.LoraConfig(r=3, lora_alpha=5, target_modules=["gate_proj", "up_proj", "down_proj"]))
    found = adapters(model, "lora")
    with torch.no_grad():
        for name, adapter in found.items():
            layer = theirs.get_base_model().get_submodule(name)
            layer.lora_A["default"].weight.copy_(adapter.right)
            layer.lora_B["default"].weight.copy_(adapter.left)
    for one in (model, theirs.get_base_model()):
        run(one, TOKENS).logits.square().mean().backward()
    for name, adapter in found.items():
        layer = theirs.get_base_model().get_submodule(name)
        assert torch.allclose(adapter.left.grad, layer.lora_B["default"].weight.grad, atol=1e-7), name
        assert torch.allclose(adapter.right.grad, layer.lora_A["default"].weight.grad, atol=1e-7), name


@pytest.mark.parametrize(
    ("kind", "family"), [("miss", "llama"), ("miss-blocks", "llama"), ("scale-shift", "llama"), ("scale-shift", "bert")]
)
def test_shared_blocks_and_factors_are_those_of_peft(kind, family):
    """The same small matrices give the same logits and the same gradients."""
    peft = pytest.importorskip("peft")
    model, other = build(family), build(family)
    names = ["gate_proj", "down_proj", "q_proj"] if family == "llama" else ["query", "intermediate.dense"]
    if kind == "scale-shift":
        part, key, theirs = structure(kind, shift=False, norms=False), "scale", "ia3_l"
        config: Any = peft.IA3Config(target_modules=names, feedforward_modules=[])
    else:
        knobs = {"share": "blocks", "rank": 4} if kind == "miss-blocks" else {"rank": 5}
        part, key, theirs = structure("miss", **knobs), "blocks" if kind == "miss-blocks" else "block", "miss_block"
        config = peft.MissConfig(r=knobs["rank"], target_modules=names, init_weights="bat" if kind == "miss-blocks" else True)
    part.apply(model)
    moved(model)
    wrapped = peft.get_peft_model(other, config).get_base_model()
    found = {name: adapter for name, adapter in adapters(model, kind).items() if any(name.endswith(end) for end in names)}
    with torch.no_grad():
        for name, adapter in adapters(model, kind).items():
            if name in found:
                layer = getattr(wrapped.get_submodule(name), theirs)["default"]
                layer.copy_(getattr(adapter, key).reshape(layer.shape))
            else:
                getattr(adapter, key).fill_(float(key == "scale"))
    assert found
    for one in (model, wrapped):
        run(one, TOKENS).logits.square().mean().backward()
    for name, adapter in found.items():
        theirs_too = getattr(wrapped.get_submodule(name), theirs)["default"].grad
        assert torch.allclose(getattr(adapter, key).grad.reshape(theirs_too.shape), theirs_too, atol=1e-7), name


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_columns_get_the_gradients_of_the_matrix_and_keep_no_other_inputs(family):
    whole, model = build(family), build(family)
    structure("partial-columns").apply(model)
    numbers = {}
    for key, one in (("whole", whole), ("columns", model)):
        kept: list[torch.Tensor] = []
        with torch.autograd.graph.saved_tensors_hooks(lambda saved, kept=kept: (kept.append(saved), saved)[1], lambda saved: saved):
            loss = run(one, TOKENS).logits.square().mean()
        loss.backward()
        numbers[key] = sum(saved.shape[-1] == 3 for saved in kept)
    found = adapters(model, "partial-columns")
    for name, adapter in found.items():
        full = whole.get_submodule(name).weight.grad
        full = full.T if adapter.transposed else full
        assert torch.allclose(adapter.columns.grad, full[:, adapter.chosen], atol=1e-7), name
    assert numbers == {"whole": 0, "columns": len(found)}


@pytest.mark.parametrize("kind", ["lora", "miss", "partial-columns", "scale-shift"])
def test_an_adapted_matrix_answers_in_the_precision_of_the_plain_one(kind):
    """Otherwise queries and keys differ in kind where one of them is adapted alone."""
    model = build("gpt2")
    structure(kind).apply(model)
    name, one = next(iter(adapters(model, kind).items()))
    with torch.autocast("cpu", torch.bfloat16):
        assert one(torch.ones(2, one.matrix.shape[1])).dtype == torch.bfloat16, name


def test_a_hydra_is_two_products():
    """(1 + B A) (W x + b) + D C x, as its authors merge it."""
    model, part = build("gpt2"), structure("lora", side="both", alpha=6)
    part.apply(model)
    name, one = next(iter(adapters(moved(model), "lora").items()))
    with torch.no_grad():
        one.bias.normal_()
        behind = torch.eye(len(one.left)) + 2 * one.left @ one.right
        weight, bias = behind @ one.matrix + 2 * one.input_left @ one.input_right, behind @ one.bias
    part.remove(model)
    merged: Any = model.get_submodule(name)
    assert torch.allclose(merged.weight.T, weight, atol=1e-5) and torch.allclose(merged.bias, bias, atol=1e-5)
    with pytest.raises(ValueError, match="cannot be nested"):
        structure("lora", side="both", nested=True)


def test_nested_ranks_are_first_ranks_and_a_cut_is_the_best_of_its_rank():
    model, part = build("llama"), structure("lora", nested=True, alpha=6)
    part.apply(model)
    moved(model)
    assert part.variants(model) == 3
    part.take(model, 0)
    adapter = next(iter(adapters(model, "lora").values()))
    assert torch.allclose(adapter.change(), 6 * adapter.left[:, :1] @ adapter.right[:1])
    part.take(model, 2)
    assert torch.allclose(adapter.change(), 2 * adapter.left @ adapter.right)
    cut = build("llama")
    part = structure("lora", kept_rank=1)
    part.apply(cut)
    name, adapter = next(iter(adapters(moved(cut), "lora").items()))
    u, s, v = torch.linalg.svd(adapter.change().detach())
    expected = adapter.weight.detach() + s[0] * torch.outer(u[:, 0], v[0])
    part.remove(cut)
    assert torch.allclose(cut.get_submodule(name).weight, expected, atol=1e-5)


def test_orthogonality_is_part_of_the_loss_and_importance_of_the_state():
    model, part = build("llama"), structure("adalora", rank=2, every=1, warmup=0.0, fixed=0.25)
    part.apply(model)
    part.penalty(model).backward()
    found = adapters(model, "adalora")
    assert all(one.left.grad.abs().sum() > 0 and one.values.grad is None for one in found.values())
    model.zero_grad()
    run(model, TOKENS).logits.square().mean().backward()
    moved(model)
    assert part.first_rank == 3 and part.budget(0.0, 14) == 42 and part.budget(0.75, 14) == 28 == part.budget(1.0, 14)
    part.constrain(model, replace(Progress.first(4, 12, 0), step=0, steps=4, done=0.0))
    assert any(name.endswith("values_importance") for name in model.state_dict())
    part.constrain(model, replace(Progress.first(4, 12, 0), step=3, steps=4, done=0.9))
    assert sum(int(one.kept.sum()) for one in found.values()) == part.budget(1.0, len(found))
    assert all(bool((one.values[~one.kept] == 0).all()) for one in found.values())


def test_what_matters_is_what_peft_thinks():
    layer = pytest.importorskip("peft.tuners.adalora.layer")
    torch.manual_seed(0)
    mine = {name: Triplets(torch.randn(6, 3), torch.randn(3, 5), 1.0) for name in "ab"}
    theirs, config = (
        torch.nn.Module(),
        SimpleNamespace(target_r=2, init_r=3, tinit=0, tfinal=1, deltaT=1, beta1=0.85, beta2=0.85, total_step=10),
    )
    for name, one in mine.items():
        torch.nn.init.normal_(one.values)
        holder = torch.nn.Module()
        for key, weight in (("lora_A", one.right), ("lora_E", one.values[:, None]), ("lora_B", one.left)):
            holder.register_module(key, torch.nn.ParameterDict({"default": weight.detach().clone()}))
        theirs.add_module(name, holder)
    allocator = layer.RankAllocator(theirs, config, "default")
    for _ in range(2):
        for name, one in mine.items():
            holder = theirs.get_submodule(name)
            for weight, key in ((one.right, "lora_A"), (one.values, "lora_E"), (one.left, "lora_B")):
                weight.grad = torch.randn_like(weight)
                holder.get_submodule(key)["default"].grad = weight.grad.reshape(holder.get_submodule(key)["default"].shape)
            one.learn(0.85, 0.85)
        allocator.update_ipt(theirs)
    pattern = allocator.mask_to_budget(theirs, 4)
    allocate(mine, 4)
    assert {name: one.kept.tolist() for name, one in mine.items()} == {key.split(".")[0]: value for key, value in pattern.items()}


def test_frozen_columns_do_not_move():
    model, part = build("llama"), structure("svd-core", train="core-and-up", freeze=0.5)
    part.apply(model)
    one = next(iter(adapters(model, "svd-core").values()))
    first = one.up.detach().clone()
    for done, frozen in ((0.0, 0), (0.2, 1), (0.5, 3)):
        before = one.up.detach().clone()
        moved(model)
        part.constrain(model, replace(Progress.first(4, 12, 0), done=done))
        assert (torch.equal(one.up[:, :frozen], before[:, :frozen]) and not torch.equal(one.up, before)) or frozen == 3
    assert not torch.equal(one.up[:, 2], first[:, 2])


def test_what_cannot_be_adapted_is_refused():
    for knobs, says in (({"rank": 64}, "at most 32"), ({"targets": "queries-values"}, "one matrix")):
        with pytest.raises(PartError, match=says):
            structure("lora", **knobs).apply(build("gpt2"))
    for kind, knobs, says in (("scale-shift", {}, "shift: false"), ("miss", {"share": "blocks"}, "do not fill")):
        with pytest.raises(PartError, match=says):
            structure(kind, **knobs).apply(build("llama"))
    with pytest.raises(PartError, match="columns 64 is larger"):
        structure("partial-columns", columns=64).apply(build("gpt2"))
    model = build("llama")
    structure("lora").apply(model)
    with pytest.raises(PartError, match="remove that structure"):
        structure("lora").apply(model)
    with pytest.raises(ValueError, match="larger than rank"):
        structure("lora", kept_rank=4)


def test_the_penalty_reaches_the_loss_of_a_step(tiny, stream, tmp_path):
    def tested(orthogonality: float) -> dict[str, float]:
        adalora = {"adalora": {"rank": 2, "every": 1, "orthogonality": orthogonality}}
        record = fly(tiny(structure=adalora, budget={"steps": 2}), 0, stream, tmp_path / str(orthogonality))
        assert record["status"] == "finished", record["traceback"]
        return record["test"]

    assert tested(0.0) != tested(5.0), "two runs that differ in the weight of the penalty alone"
