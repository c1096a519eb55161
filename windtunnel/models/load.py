"""Reading a model from a folder in the Hugging Face format, and refusing by name what is wrong with it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import safe_open
from transformers import GenerationConfig, PreTrainedConfig, PreTrainedModel
from transformers.utils import logging

from windtunnel.core.errors import PartError
from windtunnel.models.content import FLOATS, fingerprint, headers, weight_files
from windtunnel.models.init import family_of, hollow, train_every_row
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


@contextlib.contextmanager
def _without_bars() -> Iterator[None]:
    """Transformers draws no bar inside, which would stand in what a command or a quiet caller prints; afterwards as before."""
    before = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if before:
            logging.enable_progress_bar()


def load(name: Path | str, expected: str | None = None) -> PreTrainedModel:
    """The model that ``name`` says (see :func:`windtunnel.models.locate.locate`), in float32 on the CPU, in training mode.

    Reads safetensors and pytorch_model.bin, whole or in shards, of any family that Windtunnel builds. What no recipe says (head size,
    scaling of the rotation, epsilon of the norms) stays as its configuration has it. ``expected`` is the fingerprint it must have.

    Raises:
        PartError: for a missing folder, configuration, weight file, shard or weight; a shape that does not fit the configuration; a
            weight that the configuration has no place for, or says to be another; a damaged file; weights that are quantised or not
            finite; another content than expected. The message names it.
    """
    opened = _opened(name, expected)
    folder, config, files = opened.folder, opened.config, opened.files
    architecture = family_of(config).model_class()
    attention = "sdpa" if architecture._supports_sdpa else "eager"
    try:
        with _without_bars():
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
    if opened.generates and model.can_generate():
        model.generation_config._from_model_config = False  # somebody wrote it: it is kept
    refuse_unplaced(folder, report["unexpected_keys"])
    refuse_integers(model, files, opened.kinds)
    refuse_infinite(folder, dict(model.named_parameters()))
    refuse_untied(folder, model)
    return train_every_row(model).train()


class Opened(NamedTuple):
    """The folder of a model, of which configuration and headers have been read."""

    folder: Path
    config: PreTrainedConfig
    files: list[Path]
    kinds: dict[str, tuple[Path, str]]  # of every tensor in a safetensors file: that file, and how it is stored
    generates: bool


def _opened(name: Path | str, expected: str | None) -> Opened:
    """What :func:`load` asks of a folder before it reads the weights."""
    folder = locate(name)
    config = config_in(folder)
    warn_of_two_bases(folder, config)
    warn_of_stretched_positions(folder, config)
    family_of(config)
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
    return Opened(folder, config, files, kinds, generates)


def by_weight(name: Path | str, expected: str | None = None) -> tuple[PreTrainedModel, Iterator[tuple[str, torch.Tensor]]] | None:
    """The outline of the model that :func:`load` would read, and its weights by name, as they are stored, one at a time.

    A weight is a map of its file, of which only what is looked at is read. None where the files do not hold just the weights that the model
    has, by its own names, in safetensors; :func:`load` sees to that.

    Raises:
        PartError: as :func:`load`.
    """
    opened = _opened(name, expected)
    opened.config.dtype = torch.float32  # as load reads it
    model = hollow(opened.config)
    asked = {key: value.shape for key, value in model.state_dict().items() if key not in model.all_tied_weights_keys}
    stored_so = all(kind in FLOATS for _, kind in opened.kinds.values())
    if asked.keys() != opened.kinds.keys() or not stored_so or any(path.suffix != ".safetensors" for path in opened.files):
        return None
    model.tie_weights()
    if opened.generates and model.can_generate():
        model.generation_config = GenerationConfig.from_pretrained(opened.folder, local_files_only=True)
        model.generation_config._from_model_config = False

    def values() -> Iterator[tuple[str, torch.Tensor]]:
        for path in opened.files:
            with safe_open(path, framework="pt") as file:
                for key in file.keys():  # noqa: SIM118 (it is no dictionary)
                    value = file.get_tensor(key)
                    if value.shape != asked[key]:
                        said = f"{opened.folder}: weight {key} has shape {tuple(value.shape)}, but the configuration says"
                        raise PartError(f"{said} {tuple(asked[key])}")
                    refuse_infinite(opened.folder, {key: value})
                    yield key, value

    return train_every_row(model).train(), values()


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
