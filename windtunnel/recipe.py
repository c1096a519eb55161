"""Recipes and phases: everything that determines one trained model except the seed, read from YAML with errors that point.

A file shows only what differs. A phase inherits every field of its recipe that it does not set; an arm inherits every field of the
baseline that it does not set. Plain settings (``model``, ``tokenizer``, ``corpus``, ``split``) merge key by key; a part, a budget or
a list is replaced whole.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import PydanticCustomError

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
    Progress,
    Schedule,
    Settings,
    Source,
    Start,
    Structure,
    UserError,
    Weighting,
    make,
    nearest,
)

MERGED = ("model", "tokenizer", "corpus", "split")
FORMAT = 1  # raised when the meaning of a stored recipe changes, so that no run is taken for what it is not


class Budget(Settings):
    """How much a run may spend, in exactly one unit."""

    model_config = ConfigDict(allow_inf_nan=False)

    flops: float | None = Field(None, gt=0, description="floating point operations, counted on the real step")
    tokens: float | None = Field(None, gt=0, description="input tokens")
    steps: int | None = Field(None, gt=0, description="optimizer steps")
    seconds: float | None = Field(None, gt=0, description="wall-clock seconds (not reproducible to the bit)")

    @model_validator(mode="after")
    def _one_unit(self) -> Budget:
        if len(self._set()) != 1:
            raise ValueError("a budget has exactly one of: flops, tokens, steps, seconds")
        return self

    def _set(self) -> dict[str, float]:
        return {unit: amount for unit, amount in self if amount is not None}

    @property
    def unit(self) -> str:
        """flops, tokens, steps or seconds."""
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
    """A byte-level BPE trained on the training split, or the folder of any tokenizer."""

    folder: str | None = Field(None, description="folder of a tokenizer that AutoTokenizer loads (default: train one)")
    vocabulary: int = Field(4096, ge=400, description="size of the trained vocabulary, special tokens included")
    sentinels: int = Field(64, ge=0, description="span sentinels kept in the vocabulary, for span corruption")


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
        own = (self.mixture, self.packing, self.objective, self.weighting, self.start, self.structure, self.optimizer, self.schedule)
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
        for index, phase in enumerate(self.phases):
            for source in phase.sources or ():
                if source not in self.corpus:
                    hint = nearest(source, self.corpus)
                    raise _at("sources", f"a phase trains on source {source!r}, which the corpus does not have; {hint}")
            try:  # sizes are not known yet, names are
                sizes = dict.fromkeys(phase.sources or self.corpus, 1)
                phase.mixture.weights(sizes, Progress(0, 1, 0, phase.batch * phase.context, phase.batch, 0.0, 0.0, index), {})
            except UserError as error:
                raise _at("mixture", str(error).removeprefix("mixture.")) from error
        return self

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


def recipe_from(raw: Mapping[str, Any]) -> Recipe:
    """The recipe that a plain mapping describes; its phases inherit the fields they do not set.

    Raises:
        pydantic.ValidationError: with the path of the key as the user wrote it.
    """
    raw = dict(raw)
    shared = {key: value for key, value in raw.items() if key not in Phase.model_fields and key != "phases"}
    inherited = {key: value for key, value in raw.items() if key in Phase.model_fields}
    phases = raw.get("phases") or [{}]
    if isinstance(phases, (list, tuple)) and all(isinstance(phase, Mapping) for phase in phases):
        phases = [merge(inherited, phase) for phase in phases]
    return Recipe.model_validate({**shared, "phases": phases})


# Files --------------------------------------------------------------------------------------------------------------------------


class Document:
    """A YAML file as plain data that remembers on which line each key stands."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        try:
            text = self.path.read_text(encoding="utf-8")
        except OSError as error:
            raise UserError(f"{self.path}: {error.strerror or error}") from error
        except UnicodeDecodeError as error:
            raise UserError(f"{self.path}: not a UTF-8 text file ({error.reason} at byte {error.start})") from error
        try:
            self.node = yaml.compose(text, Loader=_Loader)
            self.data = yaml.load(text, Loader=_Loader)
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 1
            raise UserError(f"{self.path}:{line}: not valid YAML: {error.problem}") from error
        except yaml.reader.ReaderError as error:
            line = text.count("\n", 0, error.position) + 1
            raise UserError(f"{self.path}:{line}: not valid YAML: character {error.character:#x} is not text") from error
        if not isinstance(self.data, dict):
            raise UserError(f"{self.path}: expected a mapping of keys to values")

    def line(self, path: tuple[Any, ...]) -> int:
        """The line (from 1) of the deepest key of ``path`` that the file has."""
        node, line = self.node, 1
        for key in path:
            if isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
                node = node.value[key]
                line = node.start_mark.line + 1
                continue
            while isinstance(node, yaml.MappingNode):
                found = [(k, v) for k, v in node.value if k.value == str(key)]
                if found:
                    line, node = found[-1][0].start_mark.line + 1, found[-1][1]
                    break
                if len(node.value) != 1:  # a part is one key: its fields stand one level deeper than their path says
                    break
                node = node.value[0][1]
        return line

    def error(self, path: tuple[Any, ...], message: str, line: int | None = None) -> UserError:
        """An error at ``path`` of this file (on the line of its last key, unless ``line`` says otherwise)."""
        where = ".".join(str(key) for key in path)
        return UserError(f"{self.path}:{line or self.line(path)}: {where + ': ' if where else ''}{message}")

    def errors(self, error: ValidationError, prefix: tuple[Any, ...] = (), fallbacks: tuple[tuple[Any, ...], ...] = ()) -> UserError:
        """A pydantic error as one message, a line for each problem, with file, line and path of the key.

        ``prefix`` is where in the file the validated mapping stands; ``fallbacks`` are the places it inherits from, tried in order
        for a key that is not written there.
        """
        lines = []
        for detail in error.errors():
            path = tuple(key for key in detail["loc"] if not (isinstance(key, str) and key.startswith("function-")))
            key = detail.get("ctx", {}).get("key")
            full = (*path, key) if key is not None else path
            shown = path if detail["type"] == "unknown_part" else full  # its message names the part already
            inherited = full[:1] == ("phases",) and len(full) > 2
            place, start = next(
                (
                    (place, start)
                    for place in (prefix, *fallbacks)
                    for start in ((0, 2) if inherited else (0,))
                    if self.has((*place, *full[start:]))
                ),
                (prefix, 2 if inherited and not self.has((*prefix, "phases")) else 0),
            )
            message = detail["msg"].removeprefix("Value error, ")
            if detail["type"] == "literal_error":
                choices = re.findall(r"'([^']*)'", detail["ctx"]["expected"])
                message = f"{detail['input']!r} is not one of the choices; {nearest(str(detail['input']), choices)}"
            lines.append(str(self.error((*place, *shown[start:]), message, self.line((*place, *full[start:])))))
        return UserError("\n".join(dict.fromkeys(lines)))

    def has(self, path: tuple[Any, ...]) -> bool:
        """Whether the file itself writes the last key of ``path``."""
        if not path:
            return True
        data: Any = self.data
        for place, key in enumerate(path):
            if isinstance(data, dict) and key not in data and len(data) == 1:
                data = next(iter(data.values()))
            if (isinstance(data, dict) and key in data) or (isinstance(data, list) and isinstance(key, int) and key < len(data)):
                data = data[key]
            else:
                return isinstance(data, str) and place == len(path) - 1  # the bare name of a part, or the shorthand of a source
        return True


class _Loader(yaml.SafeLoader):
    """YAML as people write it: 1e12 is a number, no is a word (only true and false are not), and a key written twice is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = key_node.value
            if not isinstance(key_node, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a key is a single word", key_node.start_mark)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} is written twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


_REWRITTEN = ("tag:yaml.org,2002:float", "tag:yaml.org,2002:bool")
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in _REWRITTEN]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_NUMBER = r"[-+]?(\d[\d_]*(\.\d*)?|\.\d+)[eE][-+]?\d+|[-+]?(\d[\d_]*\.\d*|\.\d+)|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
_Loader.add_implicit_resolver(_REWRITTEN[0], re.compile(f"^({_NUMBER})$"), list("-+0123456789."))
_Loader.add_implicit_resolver(_REWRITTEN[1], re.compile("^(true|True|TRUE|false|False|FALSE)$"), list("tTfF"))


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
    except ValidationError as error:
        raise document.errors(error, fallbacks=((),)) from error


__all__ = ["BaseModel", "Budget", "Document", "Phase", "Recipe", "load_recipe", "make", "merge", "recipe_from"]
