"""Recipes and phases: everything that determines one trained model except the seed, read from YAML with errors that point.

A file shows only what differs. A phase inherits every field of its recipe that it does not set; an arm inherits every field of the
baseline that it does not set. Plain settings (``model``, ``tokenizer``, ``corpus``, ``split``) merge key by key; a part, a budget or
a list is replaced whole.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_serializer, model_validator
from pydantic_core import PydanticCustomError

from windtunnel.models.origin import filled, fingerprinted
from windtunnel.models.settings import ModelSettings
from windtunnel.part import (
    AfterStep,
    Curator,
    Evaluation,
    LossTerm,
    Mixture,
    Objective,
    Optimizer,
    Packing,
    Part,
    PartError,
    Progress,
    Schedule,
    Selection,
    Settings,
    Source,
    Start,
    Structure,
    UserError,
    Weighting,
    make,
    nearest,
)
from windtunnel.yaml_document import Document

MERGED = ("model", "tokenizer", "corpus", "split")
FORMAT = 1  # raised when the meaning of a stored recipe changes, so that no run is taken for what it is not


class Budget(Settings):
    """How much a run may spend, in exactly one unit."""

    model_config = ConfigDict(allow_inf_nan=False)

    flops: float | None = Field(None, gt=0, description="floating point operations, counted on the real step")
    effective_flops: float | None = Field(
        None, gt=0, description="floating point operations that remain where hardware leaves out what a structure holds at zero"
    )
    tokens: float | None = Field(None, gt=0, description="input tokens")
    steps: int | None = Field(None, gt=0, description="optimizer steps")
    seconds: float | None = Field(None, gt=0, description="wall-clock seconds (not reproducible to the bit)")

    @model_validator(mode="after")
    def _one_unit(self) -> Budget:
        if len(self._set()) != 1:
            raise ValueError(f"a budget has exactly one of: {', '.join(Budget.model_fields)}")
        return self

    def _set(self) -> dict[str, float]:
        return {unit: amount for unit, amount in self if amount is not None}

    @property
    def unit(self) -> str:
        """flops, effective_flops, tokens, steps or seconds."""
        return next(iter(self._set()))

    @property
    def amount(self) -> float:
        """How many of :attr:`unit`."""
        return next(iter(self._set().values()))

    def times(self, factor: float) -> Budget:
        """The same budget multiplied."""
        amount = self.amount * factor
        return Budget(**{self.unit: max(1, round(amount)) if self.unit == "steps" else amount})


class TokenizerSettings(Settings):
    """A byte-level BPE trained on the training split, the folder of any tokenizer, or the tokenizer of another recipe.

    Parts that hold a recipe (:class:`windtunnel.part.Trained`) may hold one of another tokenizer only where they can carry weights over
    to other tokens (the start ``transplant``), or where both come out the same.
    """

    folder: str | None = Field(None, description="folder of a tokenizer that AutoTokenizer loads (default: train one)")
    recipe: dict[str, Any] | None = Field(
        None, description="the recipe whose tokenizer is taken, by its name under recipes or as what differs; nothing is trained for it"
    )
    vocabulary: int = Field(4096, ge=400, description="size of the trained vocabulary, special tokens included")
    sources: tuple[str, ...] | None = Field(None, description="the corpus sources that tokens are learnt from (default: all)")
    extend: int = Field(0, ge=0, description="how many tokens are added to those of `folder` or `recipe`, learnt from the corpus")
    sentinels: int = Field(64, ge=0, description="span sentinels kept in the vocabulary, for span corruption")

    @field_validator("sources", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _from_one_place(self) -> TokenizerSettings:
        if self.folder is not None and self.recipe is not None:
            raise ValueError("a tokenizer comes from folder or from recipe, not from both")
        if self.extend and self.folder is None and self.recipe is None:
            raise ValueError("extend adds to the tokenizer of a `folder` or of a `recipe`; for one trained here raise vocabulary")
        return self

    @model_serializer(mode="wrap")
    def _short(self, dump: Any) -> dict[str, Any]:
        """What came later than the first runs is written only where it is set: the hash of a recipe finds those runs by what they say."""
        later = {"recipe": None, "sources": None, "extend": 0}
        return {key: value for key, value in dump(self).items() if key not in later or value != later[key]}

    def reckoned(self) -> int:
        """How many tokens it will have, as far as that can be told before it is made."""
        inner = self.vocabulary if self.recipe is None else Recipe.model_validate(self.recipe).tokenizer.reckoned()
        return inner + self.extend


class SplitSettings(Settings):
    """How documents are held out and cleaned before anything else happens."""

    validation: float = Field(0.02, gt=0, lt=0.5, description="share of documents for validation")
    test: float = Field(0.05, gt=0, lt=0.5, description="share of documents for test")
    near_duplicates: float = Field(
        0.8, gt=0, le=1, description="estimated Jaccard similarity above which a training document is removed as a copy of a held-out one"
    )


def _named(names: Any) -> Any:
    """The default of a field that holds parts, written as a file would write it; validation turns it into them."""
    return names


class Phase(Settings):
    """A stretch of training with fixed parts."""

    share: float = Field(1.0, gt=0, le=1, description="share of the budget")
    model: ModelSettings = ModelSettings()
    context: int = Field(128, ge=8, description="tokens a sequence holds")
    batch: int = Field(16, ge=1, description="sequences in one optimizer step, over all micro-batches and ranks")
    sources: tuple[str, ...] | None = Field(None, description="the corpus sources this phase trains on (default: all)")
    mixture: Mixture = Field(_named("proportional"), description="how often each source is drawn")
    packing: Packing = Field(_named("concatenate"), description="how documents become sequences")
    objective: Objective = Field(_named("next-token"), description="what the model predicts")
    losses: tuple[LossTerm, ...] = Field((), description="terms added to the loss")
    weighting: Weighting | None = Field(None, description="how much each target counts (default: equally)")
    selection: Selection | None = Field(None, description="which of the sequences drawn are trained on (default: all)")
    start: Start | None = Field(None, description="how the weights begin (default: scratch, and in later phases the weights before)")
    structure: Structure | None = Field(None, description="shape imposed on the weights in this phase")
    optimizer: Optimizer = Field(_named("adamw"), description="what turns gradients into updates")
    schedule: Schedule = Field(_named("cosine"), description="how the learning rate moves within the phase")
    after_step: tuple[AfterStep, ...] = Field((), description="what happens after each step")
    clip: float | None = Field(1.0, gt=0, description="largest gradient norm (null: no clipping)")
    moments: Literal["fresh", "kept"] = Field("fresh", description="whether the optimizer's moments are carried over from the phase before")

    @field_validator("losses", "after_step", "sources", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        if value is None or isinstance(value, (list, tuple)):
            return value if value is None else tuple(value)
        return (value,)

    def parts(self) -> list[Part]:
        """Every part of this phase."""
        training = (self.optimizer, self.schedule, self.weighting, self.selection)
        own = (self.mixture, self.packing, self.objective, self.start, self.structure, *training)
        return [part for part in (*own, *self.losses, *self.after_step) if part is not None]

    @model_validator(mode="after")
    def _fit_together(self) -> Phase:
        if self.model.kind not in self.objective.kinds:
            fit = ", ".join(self.objective.kinds)
            raise ValueError(f"objective {self.objective.name} needs a model of kind {fit}; {self.model.family} is a {self.model.kind}")
        for one, other in itertools.permutations(self.parts(), 2):
            if other.name in one.conflicts:
                raise ValueError(f"{one.name} cannot be combined with {other.name}: {one.conflicts[other.name]}")
        if self.moments == "kept" and self.start is not None:
            raise ValueError("moments: kept needs the weights of the phase before; a start builds other weights")
        return self


class Recipe(Settings):
    """Everything that determines one trained model, except the seed."""

    corpus: dict[str, Source] = Field(description="sources by name")
    budget: Budget
    tokenizer: TokenizerSettings = TokenizerSettings()
    split: SplitSettings = SplitSettings()
    curators: tuple[Curator, ...] = Field((), description="what improves the training documents, in order")
    evaluations: tuple[Evaluation, ...] = Field(
        _named(("bits-per-byte",)), description="what is measured; the first number of the first is primary"
    )
    evaluate_every: float = Field(0.2, gt=0, le=1, description="share of the run between two evaluations on validation")
    evaluation_tokens: int = Field(4096, ge=1, description="most tokens of each source that an evaluation on validation reads")
    test_tokens: int = Field(32768, ge=1, description="most tokens of each source that the final evaluation on test reads")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="arithmetic of forward and backward passes (auto: measured at the start)"
    )
    compile: Literal["auto", "yes", "no"] = Field(
        "auto", description="whether to torch.compile (auto: when the run is long enough to repay it)"
    )
    micro_batch: int | None = Field(None, ge=1, description="sequences in one forward pass (default: the batch)")
    limits: dict[str, float] = Field(  # left out of what is stored where it is empty, so that runs from before it existed are found
        {},
        exclude_if=lambda limits: not limits,
        description="by how large a share the loss of a source may rise over the model that the run starts from before training ends",
    )
    phases: tuple[Phase, ...] = Field(description="stretches of training, one after the other; their shares add up to 1")

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_keys(cls, data: Any) -> Any:
        """As everywhere, but the hint also knows the keys that a file may write once for all its phases."""
        for key in data if isinstance(data, Mapping) else ():
            if key not in cls.model_fields:
                hint = nearest(str(key), {*cls.model_fields, *Phase.model_fields})
                raise PydanticCustomError("unknown_key", "unknown key {shown}; {hint}", {"key": str(key), "shown": repr(key), "hint": hint})
        return data

    @field_validator("corpus", mode="before")
    @classmethod
    def _named_sources(cls, value: Any) -> Any:
        return {str(name): shorthand(source) for name, source in value.items()} if isinstance(value, Mapping) else value

    @field_validator("curators", "evaluations", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, (list, tuple)) else (value,)

    @field_validator("phases", mode="before")
    @classmethod
    def _a_list_of_mappings(cls, value: Any) -> Any:
        if not isinstance(value, (list, tuple)) or not all(isinstance(phase, (Mapping, Phase)) for phase in value):
            raise ValueError("expected a list of phases, each a mapping of the fields it sets")
        return tuple(value)

    @model_validator(mode="after")
    def _shares_and_sources(self) -> Recipe:
        total = sum(phase.share for phase in self.phases)
        if abs(total - 1) > 1e-6:
            raise _at("phases", f"the shares of the phases add up to {total:g}, not to 1")
        if not self.corpus:
            raise _at("corpus", "the corpus has no source")
        for source in self.tokenizer.sources or ():
            if source not in self.corpus:
                hint = nearest(source, self.corpus)
                raise _at("tokenizer", f"tokens are learnt from source {source!r}, which the corpus does not have; {hint}")
        for source, limit in self.limits.items():
            if source not in self.corpus:
                raise _at("limits", f"a limit is set for source {source!r}, which the corpus does not have; {nearest(source, self.corpus)}")
            if not limit >= 0:
                raise _at("limits", f"the limit of source {source!r} is {limit:g}; a share, 0 or more, for example 0.01")
        if self.limits and (self.phases[0].start is None or self.phases[0].start.name == "scratch"):
            raise _at("limits", "a limit needs a model to start from: give the first phase a `start:`")
        if self.limits and self.evaluations[0].better != "lower":
            raise _at("limits", f"a limit holds a loss; the first evaluation, {self.evaluations[0].name}, is none")
        for index, phase in enumerate(self.phases):
            for source in phase.sources or ():
                if source not in self.corpus:
                    hint = nearest(source, self.corpus)
                    raise _at("sources", f"a phase trains on source {source!r}, which the corpus does not have; {hint}")
            for part in phase.parts():
                for source in part.looks_at():
                    if source not in self.corpus:
                        raise _at(
                            "sources",
                            f"{part.name} names source {source!r}, which the corpus does not have; {nearest(source, self.corpus)}",
                        )
            try:  # sizes are not known yet, names are
                sizes = dict.fromkeys(phase.sources or self.corpus, 1)
                phase.mixture.weights(sizes, Progress(0, 1, 0, phase.batch * phase.context, phase.batch, 0.0, 0.0, index), {})
            except UserError as error:
                raise _at("mixture", str(error).removeprefix("mixture.")) from error
        return self

    def special_tokens(self) -> frozenset[str]:
        """Which special tokens some part feeds to the model, besides the separator and padding: mask, spans, modes."""
        parts = [*self.evaluations, *(part for phase in self.phases for part in phase.parts())]
        return frozenset(name for part in parts for name in part.special_tokens())

    def key(self, seed: int) -> str:
        """The name under which a run of this recipe is stored: a hash of everything that determines it."""
        text = json.dumps({"format": FORMAT, "seed": seed, "recipe": self.model_dump(mode="json")}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:20]


def _at(key: str, message: str) -> PydanticCustomError:
    """An error of the whole recipe that is shown at ``key``, where the file writes it."""
    return PydanticCustomError("at_key", "{message}", {"key": key, "message": message})


def shorthand(source: Any) -> Any:
    """``builtin:NAME`` and a path as the Source they stand for; anything else unchanged."""
    if not isinstance(source, str):
        return source
    if source.startswith("builtin:"):
        return {"builtin": {"text": source.removeprefix("builtin:")}}
    return {"files": {"path": source}}


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """``base`` with the fields of ``over``; plain settings key by key, everything else replaced whole."""
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = {**merged[key], **value} if key in MERGED and both else value
    return merged


def recipe_from(raw: Mapping[str, Any], base: Mapping[str, Any] | None = None, around: tuple[str, ...] = ()) -> Recipe:
    """The recipe that a plain mapping describes; its phases inherit the fields they do not set.

    ``base`` (default: ``raw``) is what the recipes inherit that are held by its parts, and has their names under ``recipes``;
    ``around`` are the named recipes that this one is part of.

    Raises:
        pydantic.ValidationError: with the path of the key as the user wrote it.
        NestedError: for a mistake in a recipe that a part holds.
    """
    raw = completed({key: value for key, value in raw.items() if key != "recipes"}, raw if base is None else base, around)
    shared = {key: value for key, value in raw.items() if key not in Phase.model_fields and key != "phases"}
    inherited = {key: value for key, value in raw.items() if key in Phase.model_fields}
    phases = raw.get("phases") or [{}]
    if isinstance(phases, (list, tuple)) and all(isinstance(phase, Mapping) for phase in phases):
        try:
            shared, phases = filled(shared, [merge(inherited, phase) for phase in phases])
        except PartError as error:
            raise NestedError(str(error), ("start",)) from error
    recipe = Recipe.model_validate({**shared, "phases": phases})
    return recipe.model_copy(update={"phases": tuple(_pinned(phase) for phase in recipe.phases)})


def _pinned(phase: Phase) -> Phase:
    """``phase``, its parts with the content of the models that they name by a folder."""
    found = {key: getattr(phase, key) for key in Phase.model_fields}
    pinned = {key: tuple(map(fingerprinted, value)) if isinstance(value, tuple) else fingerprinted(value) for key, value in found.items()}
    changes = {key: value for key, value in pinned.items() if value != found[key]}
    return phase.model_copy(update=changes) if changes else phase


# Recipes that parts hold --------------------------------------------------------------------------------------------------------

DEEPEST = 50  # a list in YAML may hold itself; validation says so
OWN = ("phases", "share", "budget", "recipes", "start", "structure", "losses", "weighting", "selection", "after_step")


class NestedError(UserError):
    """A mistake in a recipe that a part holds; ``path`` is where in the file that recipe is named."""

    def __init__(self, message: str, path: tuple[Any, ...]) -> None:
        super().__init__(message)
        self.path = path


def completed(value: Any, base: Mapping[str, Any], around: tuple[str, ...], depth: int = 0) -> Any:
    """``value`` with every ``recipe:`` in it, a name or differences, replaced by the whole resolved recipe as plain data.

    ``around`` are the named recipes that this one is part of.
    """
    if depth > DEEPEST or not isinstance(value, (list, tuple, Mapping)):
        return value
    if not isinstance(value, Mapping):
        return [completed(entry, base, around, depth + 1) for entry in value]
    return {
        key: _nested(entry, base, around) if key == "recipe" else completed(entry, base, around, depth + 1) for key, entry in value.items()
    }


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
    if not isinstance(asked, Mapping):
        raise NestedError(f"{title} is a mapping of what differs from the recipe it stands in, not {asked!r}", path)
    if Recipe.model_fields.keys() <= asked.keys():
        return asked  # it has been completed before
    inherited = {key: value for key, value in base.items() if key not in OWN}
    tokenizer = inherited.get("tokenizer")
    if isinstance(tokenizer, Mapping) and "recipe" in tokenizer:  # it may be the tokenizer of this very recipe
        inherited["tokenizer"] = {key: value for key, value in tokenizer.items() if key in ("vocabulary", "sentinels")}
    full = merge(inherited, {k: v for k, v in asked.items() if k != "share"})
    try:
        if "budget" not in full:
            if "share" not in asked:
                raise NestedError(f"{title} needs a budget, or a share of the budget of the file", path)
            full["budget"] = Budget.model_validate(base.get("budget")).times(asked["share"]).model_dump(exclude_none=True)
        return recipe_from(full, base, around).model_dump(mode="json")
    except ValidationError as error:
        found = (f"{'.'.join(map(str, detail['loc']))}: {detail['msg'].removeprefix('Value error, ')}" for detail in error.errors())
        raise NestedError(f"{title}: {'; '.join(found)}", path) from error


def data_key(recipe: Recipe) -> str:
    """What of a recipe determines its stream."""
    facts = recipe.model_dump(mode="json", include={"corpus", "tokenizer", "split", "curators"})
    if recipe.tokenizer.recipe is not None:  # how that recipe trains does not matter
        facts["tokenizer"]["recipe"] = data_key(Recipe.model_validate(recipe.tokenizer.recipe))
    return json.dumps(facts)


def run_name(key: str, data: str) -> str:
    """The name of the folder of the run ``key`` on the stream of fingerprint ``data``: both determine the run."""
    return f"{key}-{data[:8]}"  # the recipe names its files, the fingerprint what was in them


def needed(recipe: Recipe) -> dict[str, Recipe]:
    """The recipes whose models ``recipe`` needs, and those that these need, by their key without a seed; needed ones come first."""
    found: dict[str, Recipe] = {}
    for phase in recipe.phases:
        for part in phase.parts():
            for trained in part.trained().values():
                if trained.recipe is not None:
                    inner = Recipe.model_validate(trained.recipe)
                    found |= needed(inner) | {inner.key(0): inner}
    return found


def each_recipe(recipe: Recipe, change: Callable[[Recipe], Recipe]) -> Recipe:
    """``recipe`` with ``change`` made to it and to every recipe that its parts hold."""

    def inside(value: Any) -> Any:
        if isinstance(value, list):
            return [inside(entry) for entry in value]
        if not isinstance(value, Mapping):
            return value
        return {
            key: each_recipe(Recipe.model_validate(entry), change).model_dump(mode="json") if key == "recipe" and entry else inside(entry)
            for key, entry in value.items()
        }

    if needed(recipe) or recipe.tokenizer.recipe is not None:
        recipe = Recipe.model_validate(inside(recipe.model_dump(mode="json")))
    return change(recipe)


def times(recipe: Recipe, factor: float) -> Recipe:
    """``recipe`` at ``factor`` times its budget, the models it needs too."""
    if factor == 1.0:
        return recipe
    return each_recipe(recipe, lambda one: one.model_copy(update={"budget": one.budget.times(factor)}))


# Files --------------------------------------------------------------------------------------------------------------------------


def load_recipe(path: Path | str, corpus: Mapping[str, Any] | None = None) -> Recipe:
    """The recipe in file ``path`` (``corpus`` and ``budget`` beside its own fields), with ``corpus`` sources added or replaced.

    Raises:
        UserError: naming file, line, key and the nearest valid spelling.
    """
    document = Document(path)
    if {"baseline", "arms"} & document.data.keys():
        raise UserError(f"{path}: is a study and not a recipe; fly it with: windtunnel study {path}")
    try:
        return recipe_from(merge(document.data, {"corpus": dict(corpus)} if corpus else {}))
    except NestedError as error:
        raise document.error(error.path, str(error)) from error
    except ValidationError as error:
        raise document.errors(error, fallbacks=((),)) from error


__all__ = ["BaseModel", "Budget", "Document", "Phase", "Recipe", "load_recipe", "make", "merge", "recipe_from"]
