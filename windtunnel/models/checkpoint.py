"""Models as folders in the Hugging Face format: write one that AutoModel loads, read one and refuse by name what is wrong with it."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, GenerationConfig, PreTrainedModel

from windtunnel.core.errors import DiskError, PartError
from windtunnel.models.build import family_of, hollow
from windtunnel.models.content import FLOATS, copy_tokenizer, fingerprint, headers, weight_files
from windtunnel.models.locate import locate

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def export(
    model: PreTrainedModel,
    folder: Path | str,
    tokenizer: Any = None,
    card: dict[str, Any] | None = None,
    shard: str = "5GB",
    dtype: torch.dtype = torch.float32,
) -> Path:
    """Write ``model`` (and ``tokenizer``) to ``folder`` as safetensors of at most ``shard`` each, with a model card.

    ``tokenizer`` is one of transformers, or a folder whose tokenizer files are copied byte for byte. ``card`` is what the card says:
    ``title`` and ``text`` if given, everything else as a table. Weights are trained in float32 and written as ``dtype``. Reading the
    folder again, with :func:`load` or with transformers alone, gives bitwise the same model where ``dtype`` holds its values: float32
    always, bfloat16 if they came from a checkpoint in bfloat16 and have not been trained since.

    The generation configuration that a model was loaded with is kept; one that has none gets the plain one of its family.

    Raises:
        PartError: when the model still carries a structure, which no other program would understand.
        UserError: when the folder cannot be written.
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
    written = _cast(model, dtype)
    if written.can_generate():
        written.config.use_cache = True  # training has no use for it; what comes after has
    try:
        written.save_pretrained(folder, max_shard_size=shard)
        if isinstance(tokenizer, (str, Path)):
            copy_tokenizer(Path(tokenizer), folder)
        elif tokenizer is not None:
            tokenizer.save_pretrained(folder)
        (folder / "README.md").write_text(_card(written, card or {}, with_tokenizer=tokenizer is not None), encoding="utf-8")
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
    if model.can_generate():
        known = ("pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id")
        kept = written_generation(model)
        plain = {key: getattr(model.config, key, None) for key in known} | {"use_cache": True}
        other.generation_config = GenerationConfig.from_dict(plain if kept is None else kept)
    cast: PreTrainedModel = other.to(dtype)  # type: ignore[arg-type]
    return cast


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


def load(name: Path | str, expected: str | None = None) -> PreTrainedModel:
    """The model that ``name`` says (see :func:`windtunnel.models.locate.locate`), in float32 on the CPU, in training mode.

    Reads safetensors and pytorch_model.bin, whole or in shards, of any family that Windtunnel builds. What no recipe says (head size,
    scaling of the rotation, epsilon of the norms) stays as its configuration has it. ``expected`` is the fingerprint it must have.

    Raises:
        PartError: for a missing folder, configuration, weight file, shard or weight; a shape that does not fit the configuration; a
            damaged file; weights that are quantised or not finite; another content than expected. The message names it.
    """
    folder = locate(name)
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise PartError(f"{folder / 'config.json'}: not a configuration that transformers reads: {error}") from error
    architecture = family_of(config).model_class()
    quantised = getattr(config, "quantization_config", None)
    if quantised:
        method = dict(quantised).get("quant_method", "unnamed") if isinstance(quantised, dict) else type(quantised).__name__
        raise PartError(
            f"{folder}: its weights are quantised ({method}), and training needs them whole; use the checkpoint it was made from, "
            "or a .gguf file of it, which is converted"
        )
    files = weight_files(folder)
    kinds = {name: (path, kind) for path, name, kind in headers(files)}
    if expected is not None and (found := fingerprint(folder)) != expected:
        raise PartError(f"{name}: its content has changed: the recipe was made with {expected}, and this is {found}")
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
    for weight, stored, wanted in sorted(report["mismatched_keys"]):
        raise PartError(f"{folder}: weight {weight} has shape {tuple(stored)}, but the configuration says {tuple(wanted)}")
    for weight in sorted(report["missing_keys"]):
        raise PartError(f"{folder}: weight {weight} is missing ({len(report['missing_keys'])} in all)")
    if (folder / "generation_config.json").is_file() and model.can_generate():
        model.generation_config._from_model_config = False  # somebody wrote it: it is kept
    _refuse_integers(model, files, kinds)
    for weight, value in model.named_parameters():
        if not torch.isfinite(value).all():
            bad = int((~torch.isfinite(value)).sum())
            raise PartError(f"{folder}: weight {weight} has {bad} values that are not finite (NaN or infinite)")
    return model.train()


def _refuse_integers(model: PreTrainedModel, files: list[Path], kinds: dict[str, tuple[Path, str]]) -> None:
    """Raise PartError for a weight that is not stored as floating point. Buffers (masks, positions) may be anything."""
    found = {name: (path, kind) for name, (path, kind) in kinds.items() if kind not in FLOATS}
    for path in files:
        if path.suffix != ".safetensors":
            pickled = torch.load(path, map_location="cpu", weights_only=True, mmap=_is_zip(path))
            tensors = {name: value for name, value in pickled.items() if isinstance(value, torch.Tensor)}
            found |= {name: (path, str(value.dtype)) for name, value in tensors.items() if value.dtype not in PLAIN}
    weights = {name.removeprefix(f"{model.base_model_prefix}.") for name, _ in model.named_parameters()}
    for name, (path, kind) in sorted(found.items()):
        if name.removeprefix(f"{model.base_model_prefix}.") in weights:
            raise PartError(
                f"{path}: weight {name} is stored as {kind}, not as floating point numbers of 16 bits or more: it is quantised, "
                "and training needs it whole; use the checkpoint it was made from"
            )


PLAIN = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


def _is_zip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"PK"


def _card(model: PreTrainedModel, card: dict[str, Any], with_tokenizer: bool) -> str:
    """The README of an exported model: what the hub reads on top, then what it is and how to load it."""
    family = family_of(model.config)
    auto = family.auto_class
    rows = {"family": family.name, "parameters": f"{sum(value.numel() for value in model.parameters()):,}"}
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
        f"from transformers import {auto}" + (", AutoTokenizer" if with_tokenizer else ""),
        "",
        f'model = {auto}.from_pretrained("path/to/this/folder")',
        *(['tokenizer = AutoTokenizer.from_pretrained("path/to/this/folder")'] if with_tokenizer else []),
        "```",
        "",
    ]
    return "\n".join(lines)
