"""How processes hold a model between them, without other processes: order of prefetching, cuts, what fits, what is computed again."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch.distributed.fsdp._fully_shard._fsdp_param_group import FSDPParamGroup
from torch.distributed.tensor import DTensor
from torch.testing._internal.distributed.fake_pg import FakeStore
from transformers import GPTNeoXConfig, LlamaConfig, Qwen3Config

from windtunnel.core.errors import UserError
from windtunnel.models.flops import counter
from windtunnel.models.init import family_of, fresh
from windtunnel.slots import Among
from windtunnel.train import fit, ranks
from windtunnel.train.again import recompute
from windtunnel.train.checkpoint import copied
from windtunnel.train.estimate import Footprint
from windtunnel.train.held import Held
from windtunnel.train.on_ray import train_on_ray
from windtunnel.train.parallel.local import refuse_unfit
from windtunnel.train.parallel.mesh import Mesh, beside, laid_out
from windtunnel.train.parallel.shard import shard

SIZES = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "vocab_size": 40}
TOKENS = torch.arange(24).reshape(2, 12) % 40


@pytest.fixture
def four() -> Any:
    """Four ranks, of which this is the first and the others answer with nothing."""
    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=4)
    yield
    dist.destroy_process_group()


def test_a_block_is_on_its_way_while_the_one_before_it_computes(four: None, monkeypatch: pytest.MonkeyPatch) -> None:
    model: Any = fresh(LlamaConfig(**SIZES), 0)
    shard(model, laid_out(Mesh(shard=4), torch.device("cpu")))
    happened: list[str] = []
    real = FSDPParamGroup.unshard

    def asked(group: Any, async_op: bool = False) -> None:
        if not group.is_unsharded and group._all_gather_result is None:
            happened.append(f"ask {group._module_fqn}")
        real(group, async_op)

    monkeypatch.setattr(FSDPParamGroup, "unshard", asked)
    for number, block in enumerate(model.model.layers):
        block.mlp.register_forward_pre_hook(lambda *_, number=number: happened.append(f"compute {number}"))
        block.mlp.register_full_backward_hook(lambda *_, number=number: happened.append(f"back {number}"))
    model(input_ids=TOKENS, labels=TOKENS, use_cache=False).loss.backward()
    layer = "model.layers.{}".format
    assert [word for word in happened if word != "ask "] == [
        f"ask {layer(0)}",
        f"ask {layer(1)}",
        "compute 0",
        f"ask {layer(2)}",
        "compute 1",
        "compute 2",
        f"ask {layer(2)}",
        f"ask {layer(1)}",
        "back 2",
        f"ask {layer(0)}",
        "back 1",
        "back 0",
    ]


@pytest.mark.parametrize("kind", [LlamaConfig, Qwen3Config, GPTNeoXConfig])
def test_every_weight_knows_the_whole_mesh_and_a_layer_is_cut_by_heads(four: None, kind: Any) -> None:
    model: Any = fresh(kind(**SIZES, tie_word_embeddings=True), 0)
    plan = family_of(model.config).cut(model)
    shapes = {name: value.shape for name, value in model.named_parameters()}
    mesh = laid_out(Mesh(shard=2, tensor=2), torch.device("cpu"))
    shard(model, mesh)
    assert beside(mesh) == 2 and beside(None) == beside(laid_out(Mesh(shard=4), torch.device("cpu"))) == 1
    assert {name: value.shape for name, value in model.named_parameters()} == shapes
    for name, value in model.named_parameters():
        assert isinstance(value, DTensor) and value.device_mesh.mesh_dim_names == ("shard", "tensor")
        cut = name.endswith("weight") and plan.get(name.removesuffix(".weight")) in ("columns", "rows")
        assert value.to_local().numel() * (4 if cut else 2) == value.numel() or name.endswith("bias"), name
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight


def test_ranks_that_compute_a_layer_between_them_read_the_same_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranks, "count", lambda: 4)
    shares = []
    for rank in range(4):
        monkeypatch.setattr(ranks, "rank", lambda rank=rank: rank)
        shares.append(ranks.share({"labels": [1, 2, 3, 4]}, 2)["labels"])
    assert shares == [[1, 2], [1, 2], [3, 4], [3, 4]]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"model": {"family": "gpt2"}}, "gpt2 cannot: its queries, keys and values are one matrix.*use shard=4"),
        ({}, "model.heads: 2 cannot be cut evenly for tensor=4; take tensor=1 or 2"),
        ({"model": {"heads": 4, "dropout": 0.1}}, "model.dropout: ranks that compute a layer between them would drop the same units"),
        ({"model": {"heads": 4}, "objective": "inverse-cloze"}, "objective: inverse-cloze compares the sequences of a step.*use shard=4"),
        ({"model": {"heads": 4}, "compile": "yes"}, "compile: yes cannot be had on the mesh data=1,shard=1,tensor=4"),
    ],
)
def test_what_cannot_be_cut_is_refused(tiny: Any, monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any], said: str) -> None:
    monkeypatch.setattr(ranks, "count", lambda: 4)
    with pytest.raises(UserError, match=said):
        refuse_unfit(tiny(**fields), Mesh(tensor=4))


def test_blocks_that_are_computed_again_give_the_same_numbers_for_less_memory_and_count_once() -> None:
    found, many = [], TOKENS.repeat(8, 4)
    for again in (False, True):
        model: Any = fresh(LlamaConfig(**{**SIZES, "num_hidden_layers": 6}), 0)
        if again:
            recompute(model)
        with counter() as counts, Held() as held:
            loss = model(input_ids=many, labels=many, use_cache=False).loss
            loss.backward()
        found.append((counts.get_total_flops(), loss.item(), [value.grad for value in model.parameters()], held.peak))
    (flops, loss, gradients, peak), other = found
    assert (flops, loss) == other[:2]
    assert all(torch.equal(one, two) for one, two in zip(gradients, other[2], strict=True))
    assert other[3] < 0.8 * peak
    model.supports_gradient_checkpointing = False
    with pytest.raises(UserError, match="--recompute: LlamaForCausalLM cannot"):
        recompute(model)


def test_the_fewest_shards_that_fit_are_taken(tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def step(recipe: Any, *, mesh: Mesh | None, **_: Any) -> Footprint:
        return Footprint(state=80.0 / (mesh.shard if mesh else 1), sequence=1.0)

    monkeypatch.setattr(fit, "traced", step)
    recipe = tiny(batch=4)
    assert [fit.fitting(recipe, 4, memory) for memory in (100, 60, 30)] == [Mesh(4, 1), Mesh(2, 2), Mesh(1, 4)]
    with pytest.raises(UserError, match=r"--mesh auto: a step takes .* of each of 4 device.*--recompute"):
        fit.fitting(recipe, 4, 20)


def test_a_cluster_of_ray_that_is_too_small_is_told(tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = SimpleNamespace(is_initialized=lambda: True, cluster_resources=lambda: {"CPU": 1.0}, nodes=list)
    names = ("FailureConfig", "RunConfig", "ScalingConfig", "TorchConfig", "TorchTrainer")
    for module in ("ray.train", "ray.train.torch"):
        monkeypatch.setitem(sys.modules, module, SimpleNamespace(**dict.fromkeys(names)))
    monkeypatch.setitem(sys.modules, "ray", cluster)
    with pytest.raises(UserError, match=r"--mesh data=1,shard=2 takes 2 ranks, and the Ray cluster has 1 CPU\(s\)"):
        train_on_ray(tiny(), 0, tmp_path / "out", tmp_path / "cache", Mesh(shard=2))


def test_ranks_that_begin_anew_meet_none_of_those_before() -> None:
    store, names = dist.HashStore(), list[set[str]]()
    for _ in range(3):  # what one attempt leaves is there in the next
        with ThreadPoolExecutor(3) as pool:
            names.append(set(pool.map(lambda own: ranks.attempt(store, own, 3), (2, 1, 0))))
    assert [len(each) for each in names] == [1, 1, 1] and len(set.union(*names)) == 3


def test_batches_are_shared_out_and_come_back_in_order() -> None:
    batches = [{"labels": [number] * 2} for number in range(5)]
    own = [list(Among(place, 2).own(batches)) for place in range(2)]
    assert [len(each) for each in own] == [3, 3] and [counts for *_, counts in own[1]] == [True, True, False]
    found = [[(row, batch["labels"][0]) for row, batch, counts in each if counts] for each in own]
    assert Among(0, 2, lambda mine: [mine, found[1]]).in_order(found[0]) == [(2 * number, number) for number in range(5)]


def test_a_second_state_is_as_tied_as_the_first_and_shares_no_memory() -> None:
    weight = torch.ones(3)
    state = {"a": weight, "b": weight, "rest": ([weight[1:], 2], "text")}
    second = copied(state)
    weight.zero_()
    assert second["a"] is second["b"] and second["a"].sum() == 3 and second["rest"][0][0].sum() == 2 and second["rest"][1] == "text"
