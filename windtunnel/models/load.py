"""Reading a model from a folder in the Hugging Face format, and refusing by name what is wrong with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from windtunnel.core.errors import PartError
from windtunnel.models.content import fingerprint, headers, weight_files
from windtunnel.models.init import family_of, train_every_row
from windtunnel.models.locate import locate
from windtunnel.models.own import config_in
from windtunnel.models.refused import (
    refuse_infinite,
    refuse_integers,
    refuse_unplaced,
    refuse_untied,
    warn_of_stretched_positions,
    warn_of_two_bases,
)


def load(name: Path | str, expected: str | None = None) -> PreTrainedModel:
    """The model that ``name`` says (see :func:`windtunnel.models.locate.locate`), in float32 on the CPU, in training mode.

    Reads safetensors and pytorch_model.bin, whole or in shards, of any family that Windtunnel builds. What no recipe says (head size,
    scaling of the rotation, epsilon of the norms) stays as its configuration has it. ``expected`` is the fingerprint it must have.

    Raises:
        PartError: for a missing folder, configuration, weight file, shard or weight; a shape that does not fit the configuration; a
            weight that the configuration has no place for, or says to be another; a damaged file; weights that are quantised or not
            finite; another content than expected. The message names it.
    """
    folder = locate(name)
    try:
        config = config_in(folder)
    except Exception as error:  # whatever a value leads to that nobody writes: a type of numbers that torch lacks, a list for a number
        raise PartError(f"{folder / 'config.json'}: not a configuration that transformers reads: {error}") from error
    warn_of_two_bases(folder, config)
    warn_of_stretched_positions(folder, config)
    architecture = family_of(config).model_class()
    quantised = getattr(config, "quantization_config", None)
    if quantised:
        method = dict(quantised).get("quant_method", "unnamed") if isinstance(quantised, dict) else type(quantised).__name__
        raise PartError(
            f"{folder}: its weights are quantised ({method}), and training needs them whole; use the checkpoint it was made from, "
            "or a .gguf file of it, which is converted"
        )
    generates = _generates(folder)
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
    if generates and model.can_generate():
        model.generation_config._from_model_config = False  # somebody wrote it: it is kept
    refuse_unplaced(folder, report["unexpected_keys"])
    refuse_integers(model, files, kinds)
    refuse_infinite(folder, model)
    refuse_untied(folder, model)
    return train_every_row(model).train()


def _generates(folder: Path) -> bool:
    """Whether a generation configuration lies in ``folder``. Raises PartError for one that is damaged, which transformers passes over."""
    file = folder / "generation_config.json"
    if not file.is_file():
        return False
    try:
        settings = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PartError(f"{file}: damaged: {error}; mend it or take it away") from error
    if not isinstance(settings, dict):
        raise PartError(f"{file}: expected an object of settings, got {type(settings).__name__}; mend it or take it away")
    return True
