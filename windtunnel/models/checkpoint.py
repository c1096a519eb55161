"""Models as folders in the Hugging Face format: write one that AutoModel loads, read one and refuse by name what is wrong with it."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, GenerationConfig, PreTrainedModel

from windtunnel.models.build import ARCHITECTURES, family_of
from windtunnel.part import PartError, UserError

WHOLE = ("model.safetensors", "pytorch_model.bin")
INDEX = ("model.safetensors.index.json", "pytorch_model.bin.index.json")


def export(
    model: PreTrainedModel, folder: Path | str, tokenizer: Any = None, card: dict[str, Any] | None = None, shard: str = "5GB"
) -> Path:
    """Write ``model`` (and ``tokenizer``) to ``folder`` as safetensors of at most ``shard`` each, with a model card.

    ``card`` is what the card says: ``title`` and ``text`` if given, everything else as a table. Reading the folder again, with
    :func:`load` or with transformers alone, gives bitwise the same model.

    Raises:
        PartError: when the model still carries a structure, which no other program would understand.
        UserError: when the folder cannot be written.
    """
    model = getattr(model, "_orig_mod", model)
    with torch.device("meta"):
        plain = {
            name: tuple(value.shape)
            for name, value in ARCHITECTURES[family_of(model.config)](copy.deepcopy(model.config)).state_dict().items()
        }
    own = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    odd = sorted(set(own.items()) ^ set(plain.items()))
    if odd:
        what = f"{odd[0][0]}, {len(odd)} differences from a plain {model.config.model_type}"
        raise PartError(f"the model still carries a structure ({what}); remove it before export")
    folder = Path(folder)
    if model.can_generate():
        known = {
            key: getattr(model.config, key, None) for key in ("pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id")
        }
        model.generation_config = GenerationConfig(**known, use_cache=True)
    try:
        model.save_pretrained(folder, max_shard_size=shard)
        if tokenizer is not None:
            tokenizer.save_pretrained(folder)
        (folder / "README.md").write_text(_card(model, card or {}), encoding="utf-8")
    except (OSError, SafetensorError) as error:
        raise UserError(f"{folder}: cannot write the model: {error}") from error
    return folder


def load(folder: Path | str) -> PreTrainedModel:
    """The model in ``folder`` (or in ``folder/model``, where a run keeps its own), in float32 on the CPU, in training mode.

    Reads safetensors and pytorch_model.bin, whole or in shards, of any family that Windtunnel builds.

    Raises:
        PartError: for a missing folder, configuration, weight file, shard or weight; a shape that does not fit the configuration; a
            damaged file; weights that are not finite. The message names it.
    """
    folder = find(folder)
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise PartError(f"{folder / 'config.json'}: not a configuration that transformers reads: {error}") from error
    architecture = ARCHITECTURES[family_of(config)]
    _refuse_missing_shards(folder)
    config.use_cache = False
    attention = "sdpa" if architecture._supports_sdpa else "eager"
    try:
        loaded: Any = architecture.from_pretrained(
            folder,
            config=config,
            local_files_only=True,
            dtype=torch.float32,
            attn_implementation=attention,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are refused below, by name, instead of drawn anew
        )
    except Exception as error:  # safetensors, pickle, zip and transformers each have errors of their own for a damaged file
        raise PartError(f"{folder}: the weights cannot be read: {type(error).__name__}: {error}") from error
    model, report = loaded
    for name, stored, expected in sorted(report["mismatched_keys"]):
        raise PartError(f"{folder}: weight {name} has shape {tuple(stored)}, but the configuration says {tuple(expected)}")
    for name in sorted(report["missing_keys"]):
        raise PartError(f"{folder}: weight {name} is missing ({len(report['missing_keys'])} in all)")
    for name, value in model.named_parameters():
        if not torch.isfinite(value).all():
            bad = int((~torch.isfinite(value)).sum())
            raise PartError(f"{folder}: weight {name} has {bad} values that are not finite (NaN or infinite)")
    return model.train()


def find(folder: Path | str) -> Path:
    """``folder``, or ``folder/model``, whichever holds a configuration. Raises PartError where neither does."""
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise PartError(f"{folder}: no such folder")
    for place in (folder, folder / "model"):
        if (place / "config.json").is_file():
            return place
    raise PartError(f"{folder}: holds no config.json, so it is not the folder of a model")


def _refuse_missing_shards(folder: Path) -> None:
    if any((folder / name).is_file() for name in WHOLE):
        return
    for name in INDEX:
        index = folder / name
        if not index.is_file():
            continue
        try:
            shards = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise PartError(f"{index}: not an index of shards: {error}") from error
        missing = [shard for shard in shards if not (folder / shard).is_file()]
        if missing:
            raise PartError(f"{folder}: shard {missing[0]} is missing ({len(missing)} of {len(shards)} are)")
        return
    raise PartError(f"{folder}: holds no weights; looked for {', '.join(WHOLE + INDEX)}")


def _card(model: PreTrainedModel, card: dict[str, Any]) -> str:
    """The README of an exported model: what the hub reads on top, then what it is and how to load it."""
    kind = {"ForCausalLM": "AutoModelForCausalLM", "LMHeadModel": "AutoModelForCausalLM", "ForMaskedLM": "AutoModelForMaskedLM"}
    auto = next((name for ending, name in kind.items() if type(model).__name__.endswith(ending)), "AutoModelForSeq2SeqLM")
    rows = {"family": family_of(model.config), "parameters": f"{sum(value.numel() for value in model.parameters()):,}"}
    rows |= {key: value for key, value in card.items() if key not in ("title", "text")}
    lines = [
        "---",
        "library_name: transformers",
        "tags: [windtunnel]",
        "---",
        "",
        f"# {card.get('title', 'A model trained with Windtunnel')}",
        "",
    ]
    if card.get("text"):
        lines += [str(card["text"]), ""]
    lines += ["| what | value |", "|---|---|"]
    for key, value in rows.items():
        shown = value if isinstance(value, (str, int, float)) else json.dumps(value, default=str)
        lines.append(f"| {key} | {str(shown).replace('|', chr(92) + '|').replace(chr(10), ' ')} |")
    lines += [
        "",
        "```python",
        f"from transformers import {auto}, AutoTokenizer",
        "",
        f'model = {auto}.from_pretrained("path/to/this/folder")',
    ]
    lines += ['tokenizer = AutoTokenizer.from_pretrained("path/to/this/folder")', "```", ""]
    return "\n".join(lines)
