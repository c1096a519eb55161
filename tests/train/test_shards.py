"""Models in shards, without other ranks: how they begin, and what their checkpoints call each tensor."""

from __future__ import annotations

import io
import json
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.testing._internal.distributed.fake_pg import FakeStore
from transformers import CLIPConfig, LlamaConfig, ViTConfig

from windtunnel.models.init import fresh
from windtunnel.parts.family.clip import Clip
from windtunnel.parts.start.checkpoint import Checkpoint
from windtunnel.train import begin
from windtunnel.train.parallel.shard import shard
from windtunnel.train.parallel.stored import LayoutUnpickler, taken_apart
from windtunnel.train.spend import Account


def names_on(rank: int) -> set[str]:
    """How one of four ranks calls the tensors of a model with nine tokens, whose head and table are one."""
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    dist.init_process_group("fake", store=FakeStore(), rank=rank, world_size=4)
    try:
        model: Any = fresh(LlamaConfig(vocab_size=9, tie_word_embeddings=True, **sizes), 0)
        shard(model, init_device_mesh("cpu", (4,), mesh_dim_names=("shard",)))
        assert len(model.lm_head.weight.to_local()) == (3 if rank < 3 else 0)
        return set(taken_apart({"model": model.state_dict()})[1])
    finally:
        dist.destroy_process_group()


def test_a_rank_that_has_no_row_of_a_tied_weight_calls_it_as_the_others_do() -> None:
    names = names_on(0)
    assert names == names_on(3) and not {"model/lm_head.weight", "model/model.embed_tokens.weight"} <= names


def test_clip_is_refused_because_torch_shards_no_scalar() -> None:
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "projection_dim": 16}
    text = {"vocab_size": 40, "max_position_embeddings": 8, "bos_token_id": 1, "eos_token_id": 1, "pad_token_id": 0}
    images = {"image_size": 8, "patch_size": 4, "num_channels": 1}
    model: Any = fresh(CLIPConfig(text_config=sizes | text, vision_config=sizes | images, projection_dim=16), 0)
    assert "number without an axis" in Clip.local and model.logit_scale.ndim == 0
    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=2)
    try:
        with pytest.raises(ValueError, match=r"scalar parameters.*logit_scale"):
            shard(model, init_device_mesh("cpu", (2,), mesh_dim_names=("shard",)))
    finally:
        dist.destroy_process_group()


def test_a_model_without_a_head_keeps_hidden_states_in_shards_too() -> None:
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    model: Any = fresh(ViTConfig(image_size=8, patch_size=4, num_channels=1, architectures=["ViTModel"], **sizes), 0)
    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=1)
    try:
        shard(model, init_device_mesh("cpu", (1,), mesh_dim_names=("shard",)))
        states = model(pixel_values=torch.zeros(1, 1, 8, 8), output_hidden_states=True).hidden_states
    finally:
        dist.destroy_process_group()
    assert len(states) == 3 and all(each.shape == (1, 5, 16) for each in states)


def test_a_layout_that_another_python_wrote_is_read() -> None:
    for module in ("pathlib", "pathlib._local"):
        written = f"c{module}\nPosixPath\n(S'/runs'\ntR.".encode()
        assert LayoutUnpickler(io.BytesIO(written)).load() == Path("/runs")


def context(**given: Any) -> Any:
    return SimpleNamespace(**{"mesh": object(), "device": torch.device("cpu"), "warn": lambda message: None} | given)


def test_a_structure_is_there_when_a_run_in_shards_goes_on(tiny: Any, stream: Any) -> None:
    """One of a package's own may say that it acts on shards."""
    recipe = tiny(structure={"fixed-mask": {"sparsity": 0.5}})
    model = begin.begin(recipe, 0, None, stream, 0, context(mesh=None), Account())
    config = json.loads(model.config.to_json_string(use_diff=False))
    saved = {"config": config, "generation": None, "model": model.state_dict()}
    again = begin.refilled(recipe, 0, stream, 1, context(), saved).state_dict()
    assert again.keys() == saved["model"].keys()
    assert all(torch.equal(again[name], value) for name, value in saved["model"].items())


def test_a_model_that_is_to_be_sharded_does_not_go_to_the_device_whole(tiny: Any, stream: Any) -> None:
    recipe, meta = tiny(), torch.device("meta")
    devices = {
        whole: begin.begin(recipe, 0, None, stream, 0, context(device=meta, **({"mesh": None} if whole else {})), Account()).device
        for whole in (True, False)
    }
    assert devices == {True: meta, False: torch.device("cpu")}


def test_what_a_checkpoint_warns_of_is_told_of_the_run_in_shards_too(tiny: Any, stream: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def by_weight(*_: Any) -> Any:
        warnings.warn("it has two bases", stacklevel=2)
        return "outline", ()

    told: list[str] = []
    monkeypatch.setattr(Checkpoint, "by_weight", by_weight)
    monkeypatch.setattr(begin, "in_shards", lambda outline, *_: outline)
    phase = tiny().phases[0].model_copy(update={"start": Checkpoint(model="somewhere")})
    recipe = tiny().model_copy(update={"phases": (phase,)})
    assert begin.begin(recipe, 0, None, stream, 0, context(warn=told.append), Account()) == "outline"
    assert told == ["it has two bases"]
