"""Recipes from plain data: what is inherited, and the recipes that parts hold. No checkpoint is opened for it, and no network asked.

A file shows only what differs. A phase inherits every field of its recipe that it does not set; an arm inherits every field of the
baseline that it does not set. Plain settings (``model``, ``tokenizer``, ``corpus``, ``split``) merge key by key; a part, a budget or
a list is replaced whole. ``tokenizer`` and ``encoding`` are one meaning: what is set last holds. Under all of it lies the section that
is named, if one is.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from windtunnel.core.errors import UserError, nearest, told
from windtunnel.core.part import Trained, with_trained
from windtunnel.core.registry import make
from windtunnel.models.settings import ModelSettings, Partial
from windtunnel.models.settings import merged as merged_model
from windtunnel.recipe import section
from windtunnel.recipe.budget import Budget
from windtunnel.recipe.phase import Phase, slot_fields
from windtunnel.recipe.recipe import Recipe
from windtunnel.recipe.settings import SHORT, encoding_knobs
from windtunnel.recipe.yaml import Document
from windtunnel.slots import Evaluation, Start

MERGED = ("model", "tokenizer", "corpus", "held_out", "split")
WHOLE = Recipe.model_fields.keys() - {"held_out"}  # what every stored recipe says, older ones too
DEEPEST = 50  # a list in YAML may hold itself; validation says so
PARTS = {*slot_fields(Phase), *slot_fields(Recipe)} - {"corpus", "held_out", "encoding"}  # the fields whose parts may hold models
OWN = ("phases", "share", "budget", "recipes", "start", "structure", "losses", "weighting", "selection", "after_step", "limits")


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """``base`` with the fields of ``over``; plain settings key by key, everything else replaced whole."""
    merged = dict(base)
    if "encoding" in over:
        merged.pop(SHORT, None)
    elif SHORT in over and "encoding" in merged:
        merged[SHORT] = encoding_knobs({"encoding": merged.pop("encoding")}) or {}
    for key, value in over.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        if not both or key not in MERGED:
            merged[key] = value
        else:
            merged[key] = merged_model(merged[key], value) if key == "model" else {**merged[key], **value}
    return merged


def on_its_section(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    """``raw`` with the settings of the section that it names below its own. One that is not known stays, for validation to tell."""
    name = raw.get(section.KEY)
    if name not in section.ORDER:
        return raw
    return merge(section.section(str(name)), {key: value for key, value in raw.items() if key != section.KEY})


def recipe_from(raw: Mapping[str, Any], base: Mapping[str, Any] | None = None, around: tuple[str, ...] = ()) -> Recipe:
    """The recipe that a plain mapping describes; its phases inherit the fields they do not set.

    What it leaves to a checkpoint that it begins from stays open until :func:`windtunnel.recipe.resolve.resolve` opens that.

    ``base`` (default: ``raw``) is what the recipes inherit that are held by its parts, and has their names under ``recipes``;
    ``around`` are the named recipes that this one is part of.

    Raises:
        pydantic.ValidationError: with the path of the key as the user wrote it.
        NestedError: for a mistake in a recipe that a part holds.
    """
    base = raw if base is None else base
    raw = on_its_section(raw)
    raw = {key: completed(value, base, around, key) for key, value in raw.items() if key != "recipes"}
    shared = {key: value for key, value in raw.items() if key not in Phase.model_fields and key != "phases"}
    inherited = {key: value for key, value in raw.items() if key in Phase.model_fields}
    phases = raw["phases"] if raw.get("phases") not in (None, [], ()) else [{}]
    if isinstance(phases, (list, tuple)) and all(isinstance(phase, Mapping) for phase in phases):
        phases = with_open_models([merge(inherited, phase) for phase in phases])
    recipe = Recipe.model_validate({**shared, "phases": phases})
    if "evaluations" not in shared and recipe.evaluations[0].name != recipe.encoding.evaluation:
        recipe = recipe.model_copy(update={"evaluations": (make(Evaluation, recipe.encoding.evaluation),)})
    return recipe


def with_open_models(phases: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """``phases`` as plain data, in which a model says only what is written of it wherever a checkpoint says the rest.

    A phase after one that begins from a checkpoint goes on with its sizes.
    """
    opened, found = False, []
    for phase in phases:
        start = _start(phase.get("start"))
        opened = opened or (start is not None and start.origin() is not None)
        model = phase.get("model") or {}
        if opened and isinstance(model, Mapping) and not model.keys() >= ModelSettings.model_fields.keys():
            phase = {**phase, "model": Partial(model)}
        found.append(phase)
    return found


def _start(written: Any) -> Start | None:
    """The start that a phase describes; None where there is none, or a mistake in it that validation will tell."""
    try:
        return Start.model_validate(written) if written is not None else None  # type: ignore[return-value]
    except ValidationError:
        return None


class NestedError(UserError):
    """A mistake in a recipe that a part holds, or in a model that one begins from.

    ``path`` is where in the file that recipe is named; ``model`` is the model as the file names it.
    """

    def __init__(self, message: str, path: tuple[Any, ...], model: str | None = None) -> None:
        super().__init__(message)
        self.path, self.model = path, model


def details(error: ValidationError) -> str:
    """What is wrong with a recipe, in one line."""
    return "; ".join(": ".join(filter(None, (".".join(map(str, one["loc"])), told(one)))) for one in error.errors())


def completed(value: Any, base: Mapping[str, Any], around: tuple[str, ...], field: str = "", depth: int = 0) -> Any:
    """``value`` with every ``recipe:`` in it, a name or differences, replaced by the whole recipe.

    ``field`` is the field of the recipe or phase that ``value`` stands in: what holds a recipe is not inherited by it, or it would hold
    itself. ``around`` are the named recipes that this one is part of.
    """
    if depth > DEEPEST or not isinstance(value, (list, tuple, Mapping)):
        return value
    if not isinstance(value, Mapping):
        return [completed(entry, base, around, field, depth + 1) for entry in value]
    found = {}
    for key, entry in value.items():
        inside = key if field == "phases" and key in PARTS else field
        if key == "recipe" and entry is not None:
            found[key] = _nested(entry, {name: kept for name, kept in base.items() if name != field or field not in PARTS}, around)
        else:
            found[key] = completed(entry, base, around, inside, depth + 1)
    return found


def _nested(asked: Any, base: Mapping[str, Any], around: tuple[str, ...]) -> Any:
    named = base.get("recipes") or {}
    path: tuple[Any, ...] = ("recipes", asked) if isinstance(asked, str) else ()
    title = f"recipe {asked}" if path else "the recipe that a part holds"
    if isinstance(asked, str):
        if asked not in named:
            raise NestedError(f"no recipe is called {asked!r} under recipes; {nearest(asked, named)}", ())
        if asked in around:
            raise NestedError(f"recipe {asked} needs itself, by way of {', '.join(around)}", path)
        around, asked = (*around, asked), named[asked]
    if isinstance(asked, Recipe):
        return asked
    if not isinstance(asked, Mapping):
        raise NestedError(f"{title} is a mapping of what differs from the recipe it stands in, not {asked!r}", path)
    if asked.keys() >= WHOLE:
        return Recipe.model_validate(asked)  # it has been completed before
    inherited = {key: value for key, value in base.items() if key not in OWN}
    tokenizer = encoding_knobs(inherited)
    if tokenizer and tokenizer.get("recipe") is not None:  # it may be the tokenizer of this very recipe
        inherited.pop("encoding", None)
        inherited[SHORT] = {key: value for key, value in tokenizer.items() if key in ("vocabulary", "sentinels")}
    full = merge(inherited, {k: v for k, v in asked.items() if k != "share"})
    try:
        if "budget" not in full:
            if "share" not in asked:
                raise NestedError(f"{title} needs a budget, or a share of the budget of the file", path)
            part = asked["share"]
            if isinstance(part, bool) or not isinstance(part, (int, float)) or not 0 < part < math.inf:
                raise NestedError(f"{title}: share: expected a number above 0, such as 0.2 of the budget of the file, not {part!r}", path)
            share = Budget.model_validate(base.get("budget")).times(part)
            # A share of tokens per parameter is one of the study's FLOPs, not so many tokens for every parameter of a smaller model.
            full["budget"] = share.model_copy(update={"shared": share.unit == "tokens_per_parameter"}).model_dump(exclude_none=True)
        return recipe_from(full, base, around)
    except ValidationError as error:
        raise NestedError(f"{title}: {details(error)}", path) from error


def refuse_unused(base: Mapping[str, Any], *others: Any) -> None:
    """Raise NestedError for a mistake in one of the ``recipes`` of ``base`` that neither it nor ``others`` name: nobody else reads it."""
    named = base.get("recipes")
    used = {name for value in (base, *others) for name in _names_in(value)}
    for name in named if isinstance(named, Mapping) else ():
        if isinstance(name, str) and name not in used:
            _nested(name, base, ())


def _names_in(value: Any, depth: int = 0) -> Iterator[str]:
    """The names of recipes that stand behind a ``recipe:`` in ``value``."""
    if depth > DEEPEST or not isinstance(value, (list, tuple, Mapping)):
        return
    if isinstance(value, Mapping) and isinstance(value.get("recipe"), str):
        yield value["recipe"]
    for entry in value.values() if isinstance(value, Mapping) else value:
        yield from _names_in(entry, depth + 1)


def data_key(recipe: Recipe) -> str:
    """What of a recipe determines its stream."""
    fields = {"corpus", "encoding", "split", "curators"} | ({"held_out"} if recipe.held_out else set())
    facts = recipe.model_dump(mode="json", include=fields)
    before = recipe.encoding.before()
    if before is not None:  # how that recipe trains does not matter
        facts["encoding"][recipe.encoding.name]["recipe"] = data_key(before)
    return json.dumps(facts)


def run_name(key: str, data: str) -> str:
    """The name of the folder of the run ``key`` on the stream of fingerprint ``data``: both determine the run."""
    return f"{key}-{data[:8]}"  # the recipe names its files, the fingerprint what was in them


def needed(recipe: Recipe, curators: bool = True) -> dict[str, Recipe]:
    """The recipes whose models ``recipe`` needs, and those that these need, by their key without a seed; needed ones come first.

    Without ``curators`` those are left out that only its corpus needs: they are flown before it is prepared.
    """
    found: dict[str, Recipe] = {}
    for one in held_by(recipe, curators):
        found |= needed(one, curators) | {one.identity(): one}
    return found


def held_by(recipe: Recipe, curators: bool = True) -> list[Recipe]:
    """The recipes that the parts of ``recipe`` hold themselves; see :func:`needed`."""
    parts = (*(recipe.curators if curators else ()), *recipe.evaluations, *(part for phase in recipe.phases for part in phase.parts()))
    return [trained.recipe for part in parts for trained in part.trained().values() if trained.recipe is not None]


def held_by_curators(recipe: Recipe) -> list[Recipe]:
    """The recipes whose models the curators of ``recipe`` hold, each once."""
    held = [one.recipe for curator in recipe.curators for one in curator.trained().values() if one.recipe is not None]
    return list({one.identity(): one for one in held}.values())


def each_recipe(recipe: Recipe, change: Callable[[Recipe], Recipe], curators: bool = True) -> Recipe:
    """``recipe`` with ``change`` made to it and to every recipe that its parts hold, those of its ``curators`` only if asked to."""
    return change(with_held(recipe, lambda one: each_recipe(one, change, curators), curators))


def with_held(recipe: Recipe, change: Callable[[Recipe], Recipe], curators: bool = True) -> Recipe:
    """``recipe`` with ``change`` made to the recipes that its parts hold themselves; see :func:`each_recipe`."""

    def inside(trained: Trained) -> Trained:
        return trained if trained.recipe is None else trained.model_copy(update={"recipe": change(trained.recipe)})

    fields = ("phases", "evaluations", "curators") if curators else ("phases", "evaluations")
    changed = {key: with_trained(getattr(recipe, key), inside) for key in fields}
    encoding, before = recipe.encoding, recipe.encoding.before()
    if before is not None:
        changed["encoding"] = encoding.model_copy(update={"recipe": change(before)})
    changed = {key: value for key, value in changed.items() if value is not getattr(recipe, key)}
    return recipe.model_copy(update=changed) if changed else recipe


def times(recipe: Recipe, factor: float) -> Recipe:
    """``recipe`` at ``factor`` times its budget, the models it needs too. Its corpus stays, and so do the models of its curators."""
    if factor == 1.0:
        return recipe
    return each_recipe(recipe, lambda one: one.model_copy(update={"budget": one.budget.times(factor)}), curators=False)


def at_rate(recipe: Recipe, multiple: float) -> Recipe:
    """``recipe`` at ``multiple`` times every learning rate of its own phases. Models that it needs are trained as they were."""
    if multiple == 1.0:
        return recipe
    phases = tuple(phase.model_copy(update={"rate_multiple": phase.rate_multiple * multiple}) for phase in recipe.phases)
    return recipe.model_copy(update={"phases": phases})


def load_recipe(file: Document | Path | str, corpus: Mapping[str, Any] | None = None) -> Recipe:
    """The recipe in ``file`` (``corpus`` and ``budget`` beside its own fields), with ``corpus`` sources added or replaced.

    It is as it is written; see :func:`recipe_from`.

    Raises:
        UserError: naming file, line, key and the nearest valid spelling.
    """
    document = file if isinstance(file, Document) else Document(file)
    if {"baseline", "arms"} & document.data.keys():
        raise UserError(f"{document.path}: is a study and not a recipe; fly it with: windtunnel study {document.path}")
    document.define_parts()
    raw = {key: value for key, value in document.data.items() if key != "parts"}
    try:
        whole = merge(raw, {"corpus": dict(corpus)} if corpus else {})
        found = recipe_from(whole)
        refuse_unused(whole)
        return found
    except NestedError as error:
        raise document.error(error.path, str(error)) from error
    except ValidationError as error:
        raise document.errors(error, fallbacks=((),)) from error
