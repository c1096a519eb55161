"""Writing a model as a folder in the Hugging Face format, which AutoModel loads."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError
from transformers import GenerationConfig, PreTrainedModel
from transformers.dynamic_module_utils import custom_object_save

from windtunnel.core.card import MADE
from windtunnel.core.errors import DiskError, PartError, UserError
from windtunnel.models import streamed
from windtunnel.models.content import INDEX, TOKENIZER_FILES, WHOLE, copy_beside
from windtunnel.models.init import family_of, hollow

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def export(
    model: PreTrainedModel,
    folder: Path | str,
    tokenizer: Any = None,
    card: dict[str, Any] | None = None,
    shard: str = "5GB",
    dtype: torch.dtype = torch.float32,
    values: Iterable[tuple[str, torch.Tensor]] | None = None,
) -> Path:
    """Write ``model`` (and ``tokenizer``) to ``folder`` as safetensors of at most ``shard`` each, with a model card.

    ``tokenizer`` is one of transformers, or a folder whose tokenizer files are copied byte for byte. ``card`` is what the card says:
    ``title`` and ``text`` if given, ``recipe`` (YAML) at its end, everything else as a table. Weights are trained in float32 and written
    as ``dtype``. Reading the folder again, with :func:`windtunnel.models.load.load` or with transformers alone, gives bitwise the same
    model where ``dtype`` holds its values: float32 always, bfloat16 if they came from a checkpoint in bfloat16 and have not been trained
    since.

    The generation configuration that a model was loaded with is kept; one that has none gets the plain one of its family.

    With ``values`` the weights are these, by name and one at a time, and ``model`` is asked for shapes and configurations alone.

    Raises:
        PartError: when the model still carries a structure, which no other program would understand.
        UserError: when the folder holds an adapter, or cannot be written.
    """
    model = getattr(model, "_orig_mod", model)
    with torch.device("meta"):
        plain = {
            name: tuple(value.shape)
            for name, value in family_of(model.config).model_class()(copy.deepcopy(model.config)).state_dict().items()
        }
    own = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    odd = sorted(set(own.items()) ^ set(plain.items()))
    if odd:
        what = f"{odd[0][0]}, {len(odd)} differences from a plain {model.config.model_type}"
        raise PartError(f"the model still carries a structure ({what}); remove it before export")
    folder = Path(folder)
    if (folder / "adapter_config.json").exists():  # transformers would put the adapter on whatever model lies beside it
        raise UserError(f"{folder}: holds an adapter (adapter_config.json), which would be put on this model; name another folder")
    written = _cast(model, dtype) if values is None else model
    try:
        _save(written, _generation(model), folder, shard, dtype, values)
        if isinstance(tokenizer, (str, Path)):
            copy_beside(Path(tokenizer), folder)
        elif tokenizer is not None:
            tokenizer.save_pretrained(folder)
        speaks = any((folder / name).is_file() for name in TOKENIZER_FILES)  # what lies beside a model need be no tokenizer
        (folder / "README.md").write_text(_card(written, card or {}, with_tokenizer=speaks), encoding="utf-8")
        for path in folder.glob("*.safetensors"):  # the library makes them readable to this user alone
            path.chmod((folder / "config.json").stat().st_mode)
    except (OSError, SafetensorError) as error:
        system = re.search(r"os error (\d+)", str(error))  # all that safetensors tells of a full disk
        number = error.errno if isinstance(error, OSError) else int(system[1]) if system else None
        raise DiskError(f"{folder}: cannot write the model: {error}", number) from error
    return folder


def _cast(model: PreTrainedModel, dtype: torch.dtype) -> PreTrainedModel:
    """A model beside ``model`` whose weights are of ``dtype``, and shared where they already are; what is written may differ from it."""
    other = hollow(copy.deepcopy(model.config))
    values = {name: value.detach().to("cpu", dtype) for name, value in model.state_dict().items()}
    other.load_state_dict(values, assign=True)
    other.tie_weights()
    cast: PreTrainedModel = other.to(dtype)  # type: ignore[arg-type]
    return cast


def _save(
    model: PreTrainedModel,
    generation: dict[str, Any] | None,
    folder: Path,
    shard: str,
    dtype: torch.dtype,
    values: Iterable[tuple[str, torch.Tensor]] | None,
) -> None:
    """Write ``model`` and its generation configuration.

    transformers refuses to write settings that clash, such as a temperature without sampling, though it reads them; and it writes them
    before the weights, which by now are a trained budget. So settings are written as they are, and nothing is asked of them.
    """
    if generation is not None:
        model.config.use_cache = True  # training has no use for it; what comes after has
        model.generation_config = GenerationConfig()
    if values is None:
        model.save_pretrained(folder, max_shard_size=shard)
    else:
        folder.mkdir(parents=True, exist_ok=True)
        model.config.architectures, model.config.dtype = [type(model).__name__], str(dtype).removeprefix("torch.")
        if model._auto_class is not None:  # the code of the model lies beside it, and its configuration says where
            custom_object_save(model, folder, config=model.config)  # type: ignore[arg-type]
        model.config.save_pretrained(folder)
        streamed.write(folder, streamed.plan(model, dtype, shard), values, dtype)
    # An earlier export in the other form would stay, and a whole file is read before shards.
    sharded = any(folder.glob("model-*-of-*.safetensors"))
    (folder / (WHOLE[0] if sharded else INDEX[0])).unlink(missing_ok=True)
    if generation is not None:
        settings = generation | {"transformers_version": transformers.__version__}
        (folder / "generation_config.json").write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _generation(model: PreTrainedModel) -> dict[str, Any] | None:
    """The generation configuration that is written with ``model``; None where it cannot generate."""
    if not model.can_generate():
        return None
    kept = written_generation(model)
    if kept is not None:
        return kept
    known = ("pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id")
    found = {key: getattr(model.config, key, None) for key in known} | {"use_cache": True}
    return {key: value for key, value in found.items() if value is not None}


def written_generation(model: PreTrainedModel) -> dict[str, Any] | None:
    """The generation configuration that ``model`` was loaded with; None where there was none and it is derived from the model's own."""
    config = getattr(model, "generation_config", None)
    if config is None or config._from_model_config is not False:
        return None
    found: dict[str, Any] = json.loads(config.to_json_string(use_diff=True))
    return {key: value for key, value in found.items() if key != "_from_model_config"}


def set_generation(model: PreTrainedModel, written: dict[str, Any]) -> None:
    """Give ``model`` the generation configuration that :func:`written_generation` told."""
    model.generation_config = GenerationConfig.from_dict(written)
    model.generation_config._from_model_config = False


def _card(model: PreTrainedModel, card: dict[str, Any], with_tokenizer: bool) -> str:
    """The README of an exported model: what the hub reads on top, then what it is and how to load it."""
    family = family_of(model.config)
    auto = family.auto_class
    rows = {"family": family.name, "parameters": f"{sum(value.numel() for value in model.parameters()):,}"}
    rows |= {key: value for key, value in card.items() if key not in ("title", "text", "recipe")}
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
    trusted = "" if family.config_class() is None else ", trust_remote_code=True"  # its code lies beside it
    lines += [
        "",
        "```python",
        f"from transformers import {auto}" + (", AutoTokenizer" if with_tokenizer else ""),
        "",
        f'model = {auto}.from_pretrained("path/to/this/folder"{trusted})',
        *(['tokenizer = AutoTokenizer.from_pretrained("path/to/this/folder")'] if with_tokenizer else []),
        "```",
        "",
    ]
    if card.get("recipe"):
        lines += [MADE, "", f"`windtunnel train README.md --seed {card.get('seed', 0)}` trains it again from this:", ""]
        lines += ["```yaml", str(card["recipe"]).rstrip(), "```", ""]
    return "\n".join(lines)
