"""Checkpoints in and out: where a model is found, what a recipe takes from it, what is refused, and that nothing is lost on the way."""

from __future__ import annotations

import importlib.util
import json
import shutil
import struct
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from checkpoints import END, byte_tokenizer, moved, with_tokenizer, written
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from tiny_models import FAMILIES, KINDS, LENGTH, SIZE, VOCABULARY, build, packed, run
from tokenizers import Tokenizer, models
from transformers import (
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    LlamaConfig,
    PreTrainedTokenizerFast,
    Qwen3Config,
)
from transformers.utils import logging

from windtunnel.core.errors import PartError, UserError
from windtunnel.core.registry import make
from windtunnel.kits.text.encoded import KEPT
from windtunnel.models.content import fingerprint
from windtunnel.models.init import config_for, fresh
from windtunnel.models.load import by_weight, load
from windtunnel.models.locate import locate
from windtunnel.models.save import export
from windtunnel.models.settings import ModelSettings
from windtunnel.recipe import NestedError, Recipe, load_recipe, recipe_from
from windtunnel.recipe.resolve import resolve
from windtunnel.slots import ALONE, Schedule, Start
from windtunnel.train.parallel.mesh import Mesh
from windtunnel.train.parallel.shard import hold, shard
from windtunnel.train.parallel.stored import fill
from windtunnel.train.prepare import prepare
from windtunnel.train.run import fly
from windtunnel.train.traced import made_up

AUTO = {"decoder": AutoModelForCausalLM, "encoder": AutoModelForMaskedLM, "encoder-decoder": AutoModelForSeq2SeqLM}
FORMS = ("whole", "sharded", "pickled")


def read(raw) -> Recipe:
    """The recipe that ``raw`` describes, with what its checkpoints say."""
    return resolve(recipe_from(raw))


def stream_of(tokenizer):
    """What a start sees of a stream of text."""
    return SimpleNamespace(**{KEPT: SimpleNamespace(tokenizer=tokenizer)})


def logits_of(model):
    tokens, documents = packed()
    return run(model.eval(), tokens, documents).logits


# Round trip ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_goes_round_to_the_last_bit(family, form, tmp_path):
    there = written(tmp_path / "there", family, form, torch.bfloat16)
    assert (form == "sharded") == (len(list(there.glob("*.safetensors"))) > 1)
    model = load(there)
    assert model.dtype == torch.float32 and model.training
    known = {"local_files_only": True, "trust_remote_code": True}  # some bring code of windtunnel's own
    for dtype in (torch.float32, torch.bfloat16):
        theirs = AUTO[KINDS[family]].from_pretrained(there, dtype=dtype, **known)
        here = export(model, tmp_path / str(dtype), dtype=dtype, shard="20KB" if form == "sharded" else "5GB")
        ours = AUTO[KINDS[family]].from_pretrained(here, **known)
        assert ours.dtype == dtype and json.loads((here / "config.json").read_text())["dtype"] == str(dtype).removeprefix("torch.")
        assert (form == "sharded") == (len(list(here.glob("*.safetensors"))) > 1)
        assert torch.equal(logits_of(ours), logits_of(theirs))
        assert model.dtype == torch.float32, "the model itself stays as it was"
    assert torch.equal(logits_of(model), logits_of(AUTO[KINDS[family]].from_pretrained(tmp_path / "torch.float32", **known)))


def test_reading_a_model_draws_no_bar_and_leaves_those_of_others(tmp_path, capfd):
    there = written(tmp_path / "there", FAMILIES[0], FORMS[0], torch.float32)
    before = logging.is_progress_bar_enabled()
    try:
        logging.enable_progress_bar()
        capfd.readouterr()
        load(there)
        assert not capfd.readouterr().err and logging.is_progress_bar_enabled()
    finally:
        (logging.enable_progress_bar if before else logging.disable_progress_bar)()


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (Qwen3Config, {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 5e5}}),
        (LlamaConfig, {"rope_parameters": {"rope_type": "default", "rope_theta": 7e4}, "attention_bias": True}),
    ],
    ids=["qwen3", "llama"],
)
def test_what_no_recipe_says_stays_as_the_checkpoint_has_it(kind, options, tmp_path):
    sizes = {"vocab_size": SIZE, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
    sizes |= {"intermediate_size": 64, "max_position_embeddings": 77, "head_dim": 16, "pad_token_id": 1}
    config = kind(**sizes, **options, rms_norm_eps=3e-5, tie_word_embeddings=True, bos_token_id=1, eos_token_id=1)
    there = moved(fresh(config, 0))
    there.save_pretrained(tmp_path / "there")
    start = {"checkpoint": str(tmp_path / "there")}
    recipe = read({"corpus": {"a": "x"}, "budget": {"steps": 1}, "start": start})
    phase = recipe.phases[0]
    model = phase.start.build(None, config_for(phase.model, VOCABULARY, LENGTH), 0)
    again = AutoModelForCausalLM.from_pretrained(export(model, tmp_path / "here"), local_files_only=True)
    one, other = (json.loads((tmp_path / name / "config.json").read_text()) for name in ("there", "here"))
    assert {key for key in one | other if one.get(key) != other.get(key)} <= {"use_cache"}
    assert torch.equal(logits_of(again), logits_of(there))


# Finding ------------------------------------------------------------------------------------------------------------------------


def test_a_model_is_found_by_folder_run_file_and_package(tmp_path, monkeypatch):
    there = written(tmp_path / "run" / "model")
    assert locate(there) == locate(tmp_path / "run") == locate(there / "model.safetensors") == there
    torch.save({name: value + 1 for name, value in load_file(there / "model.safetensors").items()}, there / "other.pt")
    moved_by_one = load(there / "other.pt")
    assert all(torch.equal(value, load(there).state_dict()[name] + 1) for name, value in moved_by_one.state_dict().items())
    shutil.copy(there / "model.safetensors", there / "best.safetensors")
    found = locate(there / "best.safetensors", tmp_path / "cache")
    assert found.parent == tmp_path / "cache" and locate(there / "best.safetensors", tmp_path / "cache") == found
    (tmp_path / "carrier").mkdir()
    (tmp_path / "carrier" / "__init__.py").touch()
    shutil.copytree(there, tmp_path / "carrier" / "small")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert locate("package:carrier/small") == tmp_path / "carrier" / "small"
    with pytest.raises(PartError, match=r"holds no such file; there: .*small"):
        locate("package:carrier/large")
    with pytest.raises(PartError, match="no installed package is called 'no_carrier'"):
        locate("package:no_carrier/small")


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))


def test_what_is_no_model_is_named(tmp_path):
    there = written(tmp_path / "there", form="sharded")
    shard = min(there.glob("model-*.safetensors"))
    (there / "notes.txt").write_text("")
    (tmp_path / "empty").mkdir()
    (tmp_path / "model.safetensors").write_bytes(b"")
    for name, message in (
        ("nowhere", "nowhere: no such folder or file"),
        (shard, "is one shard of several; name the folder"),
        (there / "notes.txt", r"not a file of weights that can be read; known: \.safetensors, \.gguf"),
        (tmp_path / "empty", "holds no config.json"),
        (tmp_path / "model.safetensors", "config.json is missing beside it"),
    ):
        with pytest.raises(PartError, match=message):
            locate(name)
    (tmp_path / "empty" / "tiny.gguf").write_bytes(b"GGUF")
    with pytest.raises(PartError, match=r"name the file itself: .*tiny.gguf"):
        locate(tmp_path / "empty")


def test_a_name_on_the_hub_is_taken_from_the_cache_or_refused_plainly(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(PartError, match=r"some/model: .*not in the hub's cache .*HF_HUB_OFFLINE=1 forbids"):
        locate("some/model")
    stored = tmp_path / "hub" / "models--some--model"
    written(stored / "snapshots" / "abc")
    (stored / "refs").mkdir()
    (stored / "refs" / "main").write_text("abc")
    assert locate("some/model") == stored / "snapshots" / "abc"


# Refusals -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_what_is_wrong_with_weights_is_named(form, tmp_path):
    there = written(tmp_path / "there", form=form)
    name = "model.layers.1.mlp.up_proj.weight"
    file = next(path for path in sorted(there.glob("*.safetensors")) if name in load_file(path)) if form != "pickled" else None
    file = file or there / "pytorch_model.bin"
    weights = load_file(file) if form != "pickled" else torch.load(file, weights_only=True)

    def broken(message: str, value: torch.Tensor | None) -> None:
        changed = {key: one for key, one in {**weights, name: value}.items() if one is not None}
        if form == "pickled":
            torch.save(changed, file)
        else:
            save_file(changed, file, metadata={"format": "pt"})
        with pytest.raises(PartError, match=message):
            load(there)

    broken(rf"weight {name} is missing \(1 in all\)", None)
    broken(rf"weight {name} has shape \(3, 32\), but the configuration says \(96, 32\)", torch.zeros(3, 32))
    broken(
        rf"{name} has 1 values that are not finite",
        weights[name].clone().index_put_((torch.tensor(1), torch.tensor(1)), torch.tensor(torch.nan)),
    )
    broken(rf"{file.name}: weight {name} is stored as .*[iI].*8, not as floating point", torch.ones(96, 32, dtype=torch.int8))
    save = torch.save if form == "pickled" else save_file
    save(weights, file)
    file.write_bytes(file.read_bytes()[:-40])
    with pytest.raises(PartError, match="cannot be read" if form == "pickled" else f"{file.name}: damaged: .* it was cut off"):
        load(there)
    file.unlink()
    with pytest.raises(PartError, match=f"shard {file.name} is missing" if form == "sharded" else "holds no weights"):
        load(there)


def test_quantised_models_and_unknown_families_are_named(tmp_path):
    there = written(tmp_path / "there")
    config = json.loads((there / "config.json").read_text())
    (there / "config.json").write_text(json.dumps(config | {"quantization_config": {"quant_method": "gptq", "bits": 4}}))
    with pytest.raises(PartError, match=r"quantised \(gptq\)"):
        load(there)
    (there / "config.json").write_text(json.dumps(config | {"model_type": "mamba"}))
    with pytest.raises(UserError, match=r"'mamba' are not supported; .*known: bert, cells, clip, decision-transformer, gpt-neox"):
        load(there)
    with pytest.raises(NestedError, match=r"checkpoint: .*'mamba' are not supported"):
        read({"corpus": {"a": "x"}, "budget": {"steps": 1}, "start": {"checkpoint": str(there)}})


# Recipes ------------------------------------------------------------------------------------------------------------------------


def test_a_part_with_one_setting_that_it_needs_takes_its_value_alone():
    assert make(Start, {"checkpoint": "x"}).model == "x"
    with pytest.raises(ValidationError, match=r"cosine is written with the names of its settings, .*not 0\.1; known: .*warmup"):
        make(Schedule, {"cosine": 0.1})


@pytest.mark.parametrize("family", FAMILIES)
def test_a_recipe_takes_sizes_from_the_checkpoint(family, tmp_path):
    sizes = {"key_value_heads": 2} if family in ("llama", "qwen2", "qwen3") else {}
    tied = {"tied": False} if family != "t5" else {}
    there = written(tmp_path / "there", family, **sizes, **tied)
    raw = {"corpus": {"a": "x"}, "budget": {"steps": 1}, "start": {"checkpoint": str(there)}}
    raw["objective"] = {"encoder": "masked-token", "encoder-decoder": "span-corruption"}.get(KINDS[family], "next-token")
    recipe = read(raw)
    model, start = recipe.phases[0].model, recipe.phases[0].start
    assert model.shape() == ModelSettings(family=family, depth=2, layers=2, width=32, heads=4, **sizes, **tied).shape()
    assert {"depth", "layers", "width", "heads", "intermediate"} <= model.model_fields_set
    assert start.fingerprint == fingerprint(there) and recipe.encoding.folder is None
    assert start.build(None, config_for(model, VOCABULARY, LENGTH - 8), 0).config.num_hidden_layers == 2
    assert read(recipe.model_dump(mode="json")) == recipe, "what is stored is the whole recipe"
    for written_too in ({"layers": 4}, {"depth": 4}):
        other = read(raw | {"model": written_too}).phases[0]
        with pytest.raises(PartError, match="layers is 2 there and 4 in the recipe"):
            other.start.build(None, config_for(other.model, VOCABULARY, LENGTH - 8), 0)


def test_the_phases_after_a_checkpoint_go_on_with_its_sizes(tmp_path):
    there = with_tokenizer(tmp_path / "there")
    two = [{"share": 0.5, "start": {"checkpoint": str(there)}}, {"share": 0.5, "schedule": "constant"}]
    recipe = read({"corpus": {"a": "x"}, "budget": {"steps": 2}, "phases": two})
    assert recipe.phases[0].model == recipe.phases[1].model and recipe.phases[1].start is None
    assert recipe.encoding.folder == str(there)
    own = read({"corpus": {"a": "x"}, "budget": {"steps": 2}, "phases": two, "tokenizer": {"vocabulary": 500}})
    assert own.encoding.folder is None, "a tokenizer that is described is trained"


def test_a_recipe_is_known_by_the_content_of_its_checkpoints(tmp_path):
    there = written(tmp_path / "there")
    raw = {"corpus": {"a": "x"}, "budget": {"steps": 1}, "start": {"checkpoint": str(there)}}
    teacher = {"corpus": {"a": "x"}, "budget": {"steps": 1}, "losses": {"distillation": {"teacher": {"folder": str(there)}}}}
    before = [read(one) for one in (raw, teacher)]
    assert [one.identity() for one in before] == [read(one).identity() for one in (raw, teacher)]
    export(moved(build("llama"), seed=6), there)
    assert all(read(one).identity() != old.identity() for one, old in zip((raw, teacher), before, strict=True))
    phase = before[0].phases[0]
    with pytest.raises(
        PartError, match=rf"there: its content has changed: the recipe was made with {phase.start.fingerprint}, and this is"
    ):
        phase.start.build(None, config_for(phase.model, VOCABULARY, LENGTH), 0)


# Vocabularies -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("family", FAMILIES)
def test_rows_for_added_tokens_are_the_mean_and_old_ones_stay(family, tied, tmp_path):
    if family == "t5" and not tied:
        return
    there = written(tmp_path / "there", family, tied=tied)
    old = load(there)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.BPE(vocab={f"t{number}": number for number in range(SIZE)}, merges=[]))
    )
    tokenizer.add_special_tokens({"mask_token": "<mask>", "extra_special_tokens": ["<one>", "<two>"]})
    config = config_for(ModelSettings(family=family, layers=2, width=32, heads=4, tied=tied), VOCABULARY, LENGTH)
    config.vocab_size = SIZE + 3
    start = make(Start, {"checkpoint": str(there)})
    assert start.build(None, config, 0, ALONE._replace(stream=stream_of(tokenizer), rows=SIZE)).config.vocab_size == SIZE
    with pytest.warns(UserWarning, match="3 rows added for special tokens: <mask>, <one>, <two>; all hold the same numbers"):
        new = start.build(None, config, 0, ALONE._replace(stream=stream_of(tokenizer), rows=SIZE + 3))
    for table in ("get_input_embeddings", "get_output_embeddings"):
        before, after = getattr(old, table)().weight, getattr(new, table)().weight
        assert torch.equal(after[:SIZE], before) and after.shape[0] == SIZE + 3
        assert torch.allclose(after[SIZE:], before.mean(dim=0).expand(3, -1))
    assert (new.get_output_embeddings().weight is new.get_input_embeddings().weight) == tied
    assert torch.equal(logits_of(new)[..., :SIZE], logits_of(old))
    assert load(export(new, tmp_path / "here")).config.vocab_size == SIZE + 3


def test_a_wrong_tokenizer_is_refused_by_name(tmp_path):
    there = with_tokenizer(tmp_path / "there")
    config = config_for(ModelSettings(layers=2, width=32, heads=4), VOCABULARY, LENGTH)
    start = make(Start, {"checkpoint": str(there)})
    more = AutoTokenizer.from_pretrained(byte_tokenizer(tmp_path / "more", words=("ab", "cd")))
    config.vocab_size = len(more)
    with pytest.raises(PartError, match=r"token 257 is '<\|end\|>' for the model and 'ab' in the stream, and 1 in all differ"):
        start.build(None, config, 0, ALONE._replace(stream=stream_of(more), rows=260))
    (there / "tokenizer.json").unlink()
    with pytest.raises(PartError, match="its vocabulary has 258 tokens, the stream's 260"):
        start.build(None, config, 0, ALONE._replace(stream=stream_of(more), rows=260))


@pytest.mark.parametrize("rows", [END + 1, 400])
def test_continued_training_keeps_vocabulary_tokenizer_and_generation(rows, corpus, tmp_path):
    """Also over an interruption; and what the objective needs is added, and said."""
    there = with_tokenizer(tmp_path / "there", rows)
    shape = {"context": 32, "batch": 4, "precision": "float32", "evaluation_tokens": 128, "test_tokens": 256, "budget": {"steps": 3}}
    raw = {"corpus": corpus, "split": {"validation": 0.1, "test": 0.1}, **shape, "start": {"checkpoint": str(there)}}
    raw |= {"tokenizer": {"sentinels": 16}, "packing": "whole-documents"}
    recipe = read(raw)
    stream = prepare(recipe, tmp_path / "cache")
    assert stream.facts.size > END + 1
    whole = fly(recipe, 0, stream, tmp_path / "whole")
    assert whole["status"] == "finished" and whole["tokens_added"] == [], whole["traceback"]
    calls = iter([False, True])
    assert fly(recipe, 0, stream, tmp_path / "cut", stop=lambda: next(calls, True))["status"] == "interrupted"
    assert fly(recipe, 0, stream, tmp_path / "cut")["status"] == "finished"
    for name in ("whole", "cut"):
        folder = tmp_path / name / "model"
        assert json.loads((folder / "config.json").read_text())["vocab_size"] == rows
        for file in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
            assert (folder / file).read_bytes() == (there / file).read_bytes()
        assert json.loads((folder / "generation_config.json").read_text())["temperature"] == 0.7
    one, other = (load_file(tmp_path / name / "model" / "model.safetensors") for name in ("whole", "cut"))
    assert all(torch.equal(one[key], other[key]) for key in one)

    denoise = read(raw | {"objective": {"span-corruption": {"mean_span": 6}}})
    record = fly(denoise, 0, stream, tmp_path / "spans")
    assert record["status"] == "finished", record["traceback"]
    assert {"<|mask|>", "<|span_0|>"} <= set(record["tokens_added"])
    assert json.loads((tmp_path / "spans" / "model" / "config.json").read_text())["vocab_size"] == max(rows, stream.facts.size)
    assert len(AutoTokenizer.from_pretrained(tmp_path / "spans" / "model")) == stream.facts.size


def test_an_exported_run_says_where_it_began_and_of_what_type_it_is(corpus, tmp_path):
    from windtunnel.train.export import export_run

    there = with_tokenizer(tmp_path / "there")
    shape = {"context": 32, "batch": 2, "precision": "float32", "evaluation_tokens": 128, "test_tokens": 128, "budget": {"steps": 1}}
    recipe = read({"corpus": corpus, "split": {"validation": 0.1, "test": 0.1}, **shape, "start": {"checkpoint": str(there)}})
    record = fly(recipe, 0, prepare(recipe, tmp_path / "cache"), tmp_path / "run")
    assert record["status"] == "finished", record["traceback"]
    found = export_run(tmp_path / "run", tmp_path / "out", dtype="bfloat16")
    card = (tmp_path / "out" / "README.md").read_text()
    assert f"| began from | {there} (content {recipe.phases[0].start.fingerprint}) |" in card and "| dtype | bfloat16 |" in card
    again = load_recipe(tmp_path / "out" / "README.md")
    assert resolve(again).key(0, record["variant"]) == record["key"], "the card alone says all that determined the run"
    assert again.phases[0].start.fingerprint == recipe.phases[0].start.fingerprint
    (tmp_path / "other.md").write_text("# A page\n\n```yaml\nbatch: 2\n```\n")
    with pytest.raises(UserError, match=r"other\.md: holds no recipe"):
        load_recipe(tmp_path / "other.md")
    assert found["dtype"] == "bfloat16" and AutoModelForCausalLM.from_pretrained(tmp_path / "out").dtype == torch.bfloat16
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert tokenizer.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False) == "<user>hi"
    with pytest.raises(UserError, match=r"dtype: 'int8'.*float32"):
        export_run(tmp_path / "run", tmp_path / "out2", dtype="int8")


# GGUF ---------------------------------------------------------------------------------------------------------------------------


def test_gguf_without_its_package_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "a.gguf").write_bytes(b"GGUF" + struct.pack("<I", 3))
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "gguf" else find(name, *rest))
    with pytest.raises(UserError, match=r"a\.gguf: reading GGUF needs the package gguf: pip install 'windtunnel\[gguf\]'"):
        locate(tmp_path / "a.gguf")


def test_gguf_is_converted_once_and_exactly(tmp_path):
    gguf = pytest.importorskip("gguf")
    pytest.importorskip("accelerate")
    there = with_tokenizer(tmp_path / "there", tied=False)
    model = load(there)
    write_gguf(gguf, tmp_path / "tiny.gguf", model, there)
    found = locate(tmp_path / "tiny.gguf")
    stamp = (found / "model.safetensors").stat().st_mtime_ns
    again = load(tmp_path / "tiny.gguf")
    assert (locate(tmp_path / "tiny.gguf") / "model.safetensors").stat().st_mtime_ns == stamp
    assert json.loads((found / "config.json").read_text())["dtype"] == "bfloat16", "which holds every one of these values"
    assert torch.equal(logits_of(again), logits_of(model))
    text = "Tab\tand 2024, 3.14!"
    one, other = (AutoTokenizer.from_pretrained(folder) for folder in (there, found))
    assert one(text)["input_ids"] == other(text)["input_ids"] and other.eos_token == "<|end|>"
    digits = json.loads((found / "tokenizer.json").read_text())["pre_tokenizer"]
    assert digits["pretokenizers"][0]["type"] == "Digits"
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file="tiny.gguf")
    with pytest.raises(ValueError):  # why it is converted here: transformers 5 saves no model that it read from GGUF
        theirs.save_pretrained(tmp_path / "theirs")
    (tmp_path / "cut.gguf").write_bytes((tmp_path / "tiny.gguf").read_bytes()[:2000])
    with pytest.raises(PartError, match=r"cut\.gguf: cannot be read as GGUF"):
        locate(tmp_path / "cut.gguf")


def write_gguf(gguf, file: Path, model, folder: Path) -> None:
    """``model`` (a llama) and the tokenizer in ``folder`` as llama.cpp's converter lays them out."""
    config = model.config
    writer = gguf.GGUFWriter(str(file), "llama")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_vocab_size(config.vocab_size)
    vocabulary = AutoTokenizer.from_pretrained(folder).get_vocab()
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(sorted(vocabulary, key=vocabulary.get))
    writer.add_token_types([3 if token == "<|end|>" else 1 for token in sorted(vocabulary, key=vocabulary.get)])
    writer.add_token_merges(["Ġ a"])
    writer.add_eos_token_id(END)
    writer.add_bos_token_id(END)
    names = {
        "model.embed_tokens": "token_embd",
        "model.norm": "output_norm",
        "lm_head": "output",
        "self_attn.q_proj": "attn_q",
        "self_attn.k_proj": "attn_k",
        "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output",
        "mlp.gate_proj": "ffn_gate",
        "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down",
        "input_layernorm": "attn_norm",
        "post_attention_layernorm": "ffn_norm",
        "model.layers": "blk",
    }
    for name, value in model.state_dict().items():
        if "q_proj" in name or "k_proj" in name:  # it interleaves the two halves that are rotated together
            heads = config.num_attention_heads if "q_proj" in name else config.num_key_value_heads
            value = value.reshape(heads, 2, -1, value.shape[1]).swapaxes(1, 2).reshape(value.shape)
        for theirs, short in names.items():
            name = name.replace(theirs, short)
        writer.add_tensor(name, value.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_weights_read_one_by_one_into_shards_are_those_of_the_whole_model(family, tmp_path):
    folder = written(tmp_path / "there", family, form="sharded", dtype=torch.bfloat16)
    whole, found = load(folder), by_weight(folder)
    assert found is not None
    outline, values = found
    with made_up(Mesh(shard=2)) as mesh:
        shard(outline, mesh)
        hold(outline, torch.device("cpu"))
        into = outline.state_dict()
        fill((into[name], value) for name, value in values)
        assert into.keys() == whole.state_dict().keys()
        for name, value in whole.state_dict().items():
            assert torch.equal(into[name].to_local(), value.chunk(2)[0]), name
    assert outline.config.to_dict() == whole.config.to_dict()


def test_files_that_name_weights_otherwise_are_read_whole(tmp_path):
    folder = written(tmp_path / "there")
    weights = {name.removeprefix("model."): value for name, value in load_file(folder / "model.safetensors").items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert by_weight(folder) is None
