"""Reading a model from a folder in the Hugging Face format, and refusing by name what is wrong with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, PreTrainedModel

from windtunnel.core.errors import PartError
from windtunnel.models.content import FLOATS, fingerprint, headers, weight_files
from windtunnel.models.init import family_of
from windtunnel.models.locate import locate

PLAIN = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


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


def _is_zip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"PK"
