"""What a recipe leaves to the models that it begins from: sizes, tokenizer, and a hash of their content. Only here are they opened.

Reading a file opens nothing. Whoever is going to fly, estimate or name runs asks for it, once, with :func:`resolve`.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from windtunnel.core import registry
from windtunnel.core.errors import PartError, UserError, nearest
from windtunnel.core.part import Trained, with_trained
from windtunnel.models.content import fingerprint
from windtunnel.models.locate import locate
from windtunnel.models.settings import ModelSettings
from windtunnel.recipe.nesting import NestedError, details, with_held
from windtunnel.recipe.recipe import Recipe
from windtunnel.recipe.yaml import Document
from windtunnel.slots import Encoding, Family, Start


def resolve(recipe: Recipe, document: Document | None = None) -> Recipe:
    """``recipe``, and every recipe that its parts hold, with all that the models say that they begin from, and the content of each.

    What is written stays: where it disagrees with the model, the start refuses it by name. A phase after one that begins from a model
    goes on with its sizes. A tokenizer is filled in unless one is described (by its folder, another recipe or the size of a new one).
    A model on the hub is downloaded for it. A recipe that is resolved stays as it is.

    Args:
        recipe: as it is written.
        document: where it was read from, for messages.

    Raises:
        UserError: naming, where there is a ``document``, file and line.
        NestedError: without a document, for a model that is missing or not supported, or a recipe that a part holds.
        pydantic.ValidationError: without a document, where what is written does not go with the model.
    """
    try:
        return _resolved(recipe)
    except NestedError as error:
        raise error if document is None else placed(error, document) from error
    except ValidationError as error:
        raise error if document is None else document.errors(error, fallbacks=((),)) from error


def placed(error: NestedError, document: Document, *places: tuple[Any, ...]) -> UserError:
    """``error`` on the line of ``document`` that names the model it is about, looked for below each of ``places``, then anywhere."""
    path = next((path for place in (*places, ()) if error.model and (path := document.find(error.model, place))), None)
    if path is None:
        return document.error(error.path or (places or ((),))[0], str(error))
    return document.error(path[: path.index("start") + 1] if "start" in path else path, str(error), document.line(path))


def _resolved(recipe: Recipe) -> Recipe:
    filled = _filled(with_held(recipe, _held))
    try:
        pinned = tuple(one.pinned() for one in filled.evaluations)
    except PartError as error:
        raise NestedError(str(error), ("evaluations",)) from error
    if pinned != filled.evaluations:
        filled = filled.model_copy(update={"evaluations": pinned})
    return filled.model_copy(update={key: with_trained(getattr(filled, key), _pinned) for key in ("phases", "evaluations", "curators")})


def _held(recipe: Recipe) -> Recipe:
    """A recipe that a part holds, resolved."""
    try:
        return _resolved(recipe)
    except ValidationError as error:
        raise NestedError(f"the recipe that a part holds: {details(error)}", ()) from error


def _filled(recipe: Recipe) -> Recipe:
    shared = {key: getattr(recipe, key) for key in recipe.model_fields_set}
    known, phases = None, []
    for index, phase in enumerate(recipe.phases):
        fields = {key: getattr(phase, key) for key in phase.model_fields_set}
        if phase.start is not None and (origin := phase.start.origin()) is not None:
            known = _opened(origin, index, phase.start)
            fields["start"] = _with_fingerprint(phase.start, known.fingerprint)
            shared["encoding"] = shared.get("encoding", recipe.encoding).completed_from(known.folder, known.rows)
        if known is not None:
            fields["model"] = _sizes_of(phase.model, known)
        phases.append(fields)
    return recipe if known is None else Recipe.model_validate({**shared, "phases": phases})


def _opened(origin: str, index: int, start: Start) -> Facts:
    try:
        return facts(origin)
    except PartError as error:
        raise NestedError(f"{start.name}: {error}", ("phases", index, "start"), origin) from error


def _with_fingerprint(start: Start, content: str) -> Start:
    """``start`` with the content of its model, if it wants to know that and does not say it itself."""
    return start.model_copy(update={"fingerprint": content}) if getattr(start, "fingerprint", "") is None else start


def _sizes_of(model: ModelSettings, known: Facts) -> dict[str, Any]:
    """The settings ``model`` as a recipe writes them, with those of a checkpoint for what is not written."""
    written = model.written()
    own = {"depth": min(96, known.model["layers"]), **known.model}
    if "depth" in written and "layers" not in written:
        del own["layers"]  # the dial was turned by hand
    return {**own, **written}


def _pinned(trained: Trained) -> Trained:
    if trained.folder is None or trained.fingerprint is not None:
        return trained
    try:
        return trained.model_copy(update={"fingerprint": facts(trained.folder).fingerprint})
    except PartError as error:
        raise NestedError(str(error), (), trained.folder) from error


# What a checkpoint says -----------------------------------------------------------------------------------------------------------


class Facts(NamedTuple):
    """The model at ``folder``: its settings as a recipe writes them, ``rows`` of its embedding (0: it has none), and its content."""

    folder: Path
    model: dict[str, Any]
    rows: int
    fingerprint: str


def facts(name: str) -> Facts:
    """What the files of the model ``name`` say. Raises PartError naming what is missing or of a family that is not supported."""
    folder = locate(name)
    content = fingerprint(folder)
    model, rows = _sizes(folder, content)
    return Facts(folder, dict(model), rows, content)


def facts_of_text(name: str, doing: str) -> tuple[Facts, Any]:
    """What the files of the model ``name`` say, which writes text, and its encoding; ``doing`` says in messages what such models are for.

    Raises:
        PartError: as :func:`facts`.
        UserError: for a model that does not write text, or has no tokenizer beside it.
    """
    known = facts(name)
    family: Any = registry.make(Family, known.model["family"])  # not its class: what some are depends on their settings
    text: Any = registry.make(Encoding, "bpe").completed_from(known.folder, known.rows)
    if "tokens" not in family.reads or family.kind != "decoder":
        what = f"is a model of family {family.name} ({family.kind})"
        raise UserError(f"{name}: {what}; {doing} models that write text (decoder)")
    if not text.folders():
        raise UserError(f"{name}: has no tokenizer beside it ({known.folder}); put the one there that it was trained with")
    return known, text


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
        from windtunnel.models.own import config_in
        from windtunnel.models.sizes import rows_of, sizes_of

        whole = config_in(folder)
        found, rows = sizes_of(whole), rows_of(whole)
    return {"family": name, **found}, int(rows or 0)
