"""What a recipe need not say because the model it begins from says it: sizes, tokenizer, and a hash of its content."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from windtunnel.core import registry
from windtunnel.core.errors import PartError, nearest
from windtunnel.core.part import Trained, with_trained
from windtunnel.models.content import fingerprint
from windtunnel.models.locate import locate
from windtunnel.recipe.settings import SHORT, encoding_knobs
from windtunnel.slots import Family, Start

TOKENIZERS = ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "vocab.json", "tokenizer.model", "spiece.model")


class Facts(NamedTuple):
    """The model at ``folder`` as a recipe writes it: under ``model``, under ``tokenizer`` (empty where it has none), and its content."""

    folder: Path
    model: dict[str, Any]
    tokenizer: dict[str, Any]
    fingerprint: str


def facts(name: str) -> Facts:
    """What the files of the model ``name`` say. Raises PartError naming what is missing or of a family that is not supported."""
    folder = locate(name)
    content = fingerprint(folder)
    model, rows = _sizes(folder, content)
    tokenizer = {"folder": str(folder), "vocabulary": max(400, rows)} if any((folder / file).is_file() for file in TOKENIZERS) else {}
    return Facts(folder, dict(model), tokenizer, content)


@cache
def _sizes(folder: Path, content: str) -> tuple[dict[str, Any], int]:
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        kind = str(config["model_type"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PartError(f"{folder / 'config.json'}: not a configuration that transformers reads: {error}") from error
    name = kind.replace("_", "-")
    family: Any = registry.find(Family, name)
    if family is None:
        raise PartError(f"{folder}: models of type {kind!r} are not supported; {nearest(name, registry.known(Family))}")
    found = family.written(config)
    rows = config.get(*family.names.get("rows", ("",)))
    if None in found.values() or (rows is None and "rows" in family.names):  # what a file leaves out, only its class knows
        from transformers import AutoConfig

        from windtunnel.models.sizes import rows_of, sizes_of

        whole = AutoConfig.from_pretrained(folder, local_files_only=True)
        found, rows = sizes_of(whole), rows_of(whole)
    return {"family": name, **found}, int(rows or 0)


def with_origin_sizes(shared: Mapping[str, Any], phases: list[dict[str, Any]]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A recipe's ``shared`` fields and ``phases``, as plain data, with what the models say that its phases begin from.

    What is written stays: where it disagrees with the model, the start refuses it by name. A phase after one that begins from a model
    goes on with its sizes. A tokenizer is filled in unless one is described (by its folder, another recipe or the size of a new one).
    """
    shared, known, found = dict(shared), None, []
    for phase in phases:
        start = _start(phase.get("start"))
        origin = start.origin() if start is not None else None
        if start is not None and origin is not None:
            try:
                known = facts(origin)
            except PartError as error:
                raise PartError(f"{start.name}: {error}") from error
            if getattr(start, "fingerprint", "") is None:
                start = start.model_copy(update={"fingerprint": known.fingerprint})
            phase = {**phase, "start": start}
            tokenizer = encoding_knobs(shared)
            if tokenizer is not None and not {"folder", "recipe", "vocabulary"} & tokenizer.keys() and known.tokenizer:
                shared.pop("encoding", None)
                shared[SHORT] = {**known.tokenizer, **tokenizer}
        model = phase.get("model") or {}
        if known is not None and isinstance(model, Mapping):
            own = {"depth": min(96, known.model["layers"]), **known.model}
            if "depth" in model and "layers" not in model:
                del own["layers"]  # the dial was turned by hand
            phase = {**phase, "model": {**own, **model}}
        found.append(phase)
    return shared, found


def _start(written: Any) -> Start | None:
    """The start that a phase describes; None where there is none, or a mistake in it that validation will tell."""
    try:
        return Start.model_validate(written) if written is not None else None  # type: ignore[return-value]
    except ValidationError:
        return None


def pinned(value: Any) -> Any:
    """``value`` (settings, tuples, parts) with the content of the models that are named in it by their folder, as it is now."""
    return with_trained(value, _pinned)


def _pinned(trained: Trained) -> Trained:
    if trained.folder is None or trained.fingerprint is not None:
        return trained
    return trained.model_copy(update={"fingerprint": facts(trained.folder).fingerprint})
