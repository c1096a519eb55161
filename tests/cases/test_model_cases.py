"""Folders of models that somebody has reported trouble with, each as small as it can be. The source stands beside the case."""

from __future__ import annotations

import json

import pytest
import torch
from folders import SIZES, change, drawn, saved
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, GenerationConfig, Qwen2Config, Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM

from windtunnel.core.errors import PartError, UserError
from windtunnel.models.forward import forward
from windtunnel.models.init import fresh
from windtunnel.models.load import load
from windtunnel.models.save import export


@pytest.mark.parametrize(
    "settings",
    [
        {"do_sample": False, "temperature": 0.9, "top_p": 0.6},
        {"num_beams": 1, "length_penalty": 2.0, "early_stopping": True},
        {"pad_token_id": -1},
    ],
    ids=str,
)
def test_generation_settings_that_transformers_refuses_to_write_do_not_lose_the_weights(settings, tmp_path):
    """huggingface/transformers 29988, 29675; hiyouga/LlamaFactory 2767."""
    model = load(change(saved(tmp_path / "given"), "generation_config.json", **settings))
    out = export(model, tmp_path / "out")
    written = json.loads((out / "generation_config.json").read_text())
    assert written | settings == written and written["eos_token_id"] == 0
    again = AutoModelForCausalLM.from_pretrained(out)
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())
    assert GenerationConfig.from_pretrained(out).eos_token_id == 0


def test_padding_of_minus_one_in_the_configuration_alone_does_not_lose_the_weights(tmp_path):
    """jiaweizzhao/GaLore 63; huggingface/trl 1576; huggingface/transformers 30187: settings derived from it clash as well."""
    folder = change(saved(tmp_path / "given"), pad_token_id=-1)
    (folder / "generation_config.json").unlink()
    assert AutoModelForCausalLM.from_pretrained(export(load(folder), tmp_path / "out")).config.pad_token_id == -1


@pytest.mark.parametrize("text", ["{", "[]"])
def test_damaged_generation_settings_are_named_and_not_replaced_by_others(text, tmp_path):
    """Neighbour of the above: transformers 5.23 passes over such a file without a word."""
    (saved(tmp_path) / "generation_config.json").write_text(text)
    with pytest.raises(PartError, match=r"generation_config\.json"):
        load(tmp_path)


def test_a_type_of_numbers_that_torch_lacks_is_refused_by_the_name_of_the_file(tmp_path):
    """Neighbour: "dtype": "float8" in config.json; AutoConfig raises AttributeError for it."""
    change(saved(tmp_path), dtype="float8")
    with pytest.raises(PartError, match=r"config\.json"):
        load(tmp_path)


QWENS = {"qwen2": (Qwen2Config, Qwen2ForCausalLM), "qwen3": (Qwen3Config, Qwen3ForCausalLM)}


@pytest.mark.parametrize("layers", [0, 1], ids=["every layer", "the second layer"])
@pytest.mark.parametrize("family", sorted(QWENS))
def test_a_sliding_window_is_computed_as_transformers_computes_it(family, layers):
    """unslothai/unsloth 8253; huggingface/transformers 29777, 35896."""
    config, kind = QWENS[family]
    model = drawn(config(**SIZES, use_sliding_window=True, sliding_window=5, max_window_layers=layers, initializer_range=0.3), kind)
    tokens = torch.randint(0, 32, (2, 24))
    documents = torch.tensor([[0] * 9 + [1] * 15, [0] * 24])
    with torch.no_grad():
        whole = model(input_ids=tokens).logits
        packed = torch.cat([model(input_ids=tokens[:1, :9]).logits, model(input_ids=tokens[:1, 9:]).logits], dim=1)
        assert (forward(model, tokens).logits - whole).abs().max() < 1e-5
        assert (forward(model, tokens, needs=frozenset({"attentions"})).logits - whole).abs().max() < 1e-5
        assert (forward(model, tokens, documents).logits - torch.cat([packed, whole[1:]])).abs().max() < 1e-5


def test_a_head_of_its_own_under_a_configuration_that_says_tied_is_refused(tmp_path):
    """huggingface/transformers 45127, 45156; huggingface/peft 2972; hiyouga/LlamaFactory 10832."""
    change(saved(tmp_path, tie_word_embeddings=False), tie_word_embeddings=True)
    with pytest.raises(PartError, match=r"lm_head\.weight is model\.embed_tokens\.weight \(tie_word_embeddings\)"):
        load(tmp_path)


def test_a_head_that_equals_the_embedding_is_tied(tmp_path):
    """Right before and to be kept: many files hold the tied head a second time."""
    saved(tmp_path, tie_word_embeddings=True)
    weights = load_file(tmp_path / "model.safetensors")
    save_file(weights | {"lm_head.weight": weights["model.embed_tokens.weight"].clone()}, tmp_path / "model.safetensors", {"format": "pt"})
    model = load(tmp_path)
    assert model.lm_head.weight is model.model.embed_tokens.weight


@pytest.mark.parametrize("kind", ["layers", "adapter", "reward head"])
def test_weights_without_a_place_are_refused_by_name(kind, tmp_path):
    """huggingface/transformers 3142, 4557, 40850."""
    saved(tmp_path, tie_word_embeddings=True)
    file = tmp_path / "model.safetensors"
    if kind == "layers":
        change(tmp_path, num_hidden_layers=1)
    else:
        name = "score.weight" if kind == "reward head" else "model.layers.0.self_attn.q_proj.lora_A.weight"
        save_file(load_file(file) | {name: torch.ones(1, 16)}, file, {"format": "pt"})
    with pytest.raises(PartError, match=r"layers\.1|score|lora_A"):
        load(tmp_path)


def test_buffers_that_old_files_hold_are_no_weights_without_a_place(tmp_path):
    """Right before and to be kept: files of transformers 4 hold the frequencies of the rotation in every layer."""
    file = saved(tmp_path) / "model.safetensors"
    save_file(load_file(file) | {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4)}, file, {"format": "pt"})
    load(tmp_path)


@pytest.mark.parametrize("padding", [0, -1])
def test_the_row_of_a_separator_that_is_also_padding_is_trained(padding, tmp_path):
    """tloen/alpaca-lora 7; huggingface/trl 6357; torch's documentation of nn.Embedding (padding_idx)."""
    folder = change(saved(tmp_path / "given", tie_word_embeddings=False), pad_token_id=padding)
    loaded = load(folder)
    for model in (loaded, fresh(loaded.config, 0)):  # what begins, and what goes on after an interruption
        forward(model, torch.tensor([[padding % 32, 3, 4, 5]])).logits.logsumexp(-1).sum().backward()
        assert model.model.embed_tokens.weight.grad[padding].abs().max() > 0
    assert AutoModelForCausalLM.from_pretrained(export(loaded, tmp_path / "out")).config.pad_token_id == padding


def test_two_bases_of_rotary_positions_are_told(tmp_path, recwarn):
    """Run on transformers 5.23: of a config.json that holds the old and the new form one counts, and nothing says which."""
    saved(tmp_path)
    rotary = json.loads((tmp_path / "config.json").read_text())["rope_parameters"]
    load(tmp_path)
    assert not any("rotary" in str(one.message) for one in recwarn)
    change(tmp_path, rope_theta=500000.0, rope_parameters=rotary)
    with pytest.warns(UserWarning, match=r"two bases of rotary positions, rope_theta 500000 and .* 10000; \d+ is used") as told:
        model = load(tmp_path)
    assert f"{model.config.rope_parameters['rope_theta']:g} is used" in str(told[0].message)


def test_a_model_is_not_exported_beside_an_adapter(tmp_path):
    """huggingface/peft 1381: what reads the folder puts the adapter on the model, which may have it merged already."""
    change(saved(tmp_path / "given"), "adapter_config.json", base_model_name_or_path="given")
    with pytest.raises(UserError, match="holds an adapter"):
        export(drawn(seed=1), tmp_path / "given")


@pytest.mark.parametrize(("first", "second"), [("5GB", "3KB"), ("3KB", "5GB")])
def test_an_export_takes_the_place_of_one_in_another_form(first, second, tmp_path):
    """mflux-community/mflux 603; Blaizzy/mlx-vlm 1464: of a whole file and shards in one folder one is from yesterday."""
    model = drawn(seed=1)
    export(model, export(drawn(), tmp_path, shard=first), shard=second)
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())
    assert (tmp_path / "model.safetensors").exists() != (tmp_path / "model.safetensors.index.json").exists()


def test_weights_that_git_has_not_fetched_are_named(tmp_path):
    """huggingface/transformers 27923; microsoft/OmniParser 34: what is read says that a header is too large."""
    (saved(tmp_path) / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:91\nsize 9037\n")
    with pytest.raises(PartError, match="git lfs pull"):
        load(tmp_path)


def test_what_a_folder_without_a_configuration_is_instead(tmp_path):
    """yangjianxin1/Firefly 31 (an adapter); s9roll7/animatediff-cli-prompt-travel 92 (the cache of the hub)."""
    saved(tmp_path / "out" / "checkpoint-10")
    with pytest.raises(PartError, match="name one of those in it: checkpoint-10"):
        load(tmp_path / "out")
    change(tmp_path / "out", "plan.json")
    with pytest.raises(PartError, match="it is a run that has not ended"):
        load(tmp_path / "out")
    (tmp_path / "out" / "record.json").write_text('{"status": "finished"}')
    with pytest.raises(PartError, match="this run is finished, but its weights were deleted"):
        load(tmp_path / "out")
    change(tmp_path, "adapter_config.json")
    with pytest.raises(PartError, match="it is an adapter: merge it"):
        load(tmp_path)
    cached = tmp_path / "models--owner--name"
    saved(cached / "snapshots" / "f00d")
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text("f00d")
    assert load(cached).config.vocab_size == 32


@pytest.mark.parametrize("kind", ["dynamic", "longrope"])
def test_positions_that_depend_on_the_batch_are_told(kind, tmp_path):
    """QwenLM/Qwen 401: a text is measured otherwise beside a longer one."""
    more = {"short_factor": [1.0] * 4, "long_factor": [2.0] * 4, "original_max_position_embeddings": 16} if kind == "longrope" else {}
    saved(tmp_path, max_position_embeddings=16, rope_parameters={"rope_type": kind, "rope_theta": 1e4, "factor": 2.0, **more})
    with pytest.warns(UserWarning, match=f"{kind}.*longer than 16 tokens"):
        model = load(tmp_path).eval()
    tokens = torch.randint(0, 32, (1, 24))
    documents = torch.tensor([[0] * 4 + [1] * 20])
    with torch.no_grad():
        alone, beside = forward(model, tokens[:, :4]).logits, forward(model, tokens, documents).logits[:, :4]
    assert (alone - beside).abs().max() > 1e-3  # else the sentence is wrong and can go
