"""What a study file says: read, every arm made a recipe, and what cannot be compared (:mod:`.comparable`) refused with file and line.

Reading opens no checkpoint; :attr:`StudyFile.resolved` does, once, and refuses what can be told only then.
"""

from __future__ import annotations

import re
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Discriminator, Field, PrivateAttr, Tag, ValidationError, field_validator, model_validator
from pydantic_core import PydanticCustomError

from windtunnel.core.errors import UserError, nearest, told
from windtunnel.core.schema import elsewhere
from windtunnel.core.settings import Many, Settings, unit
from windtunnel.recipe import USUAL, Budget, NestedError, Phase, Recipe, merge, recipe_from, refuse_unused
from windtunnel.recipe.resolve import placed, resolve
from windtunnel.recipe.section import KEY as SECTION
from windtunnel.recipe.settings import SHORT, named
from windtunnel.recipe.yaml import Document
from windtunnel.study.comparable import check_knobs, on_the_same_text, refuse_incomparable, refuse_twins
from windtunnel.study.rates import RateCheck
from windtunnel.study.result import BASELINE
from windtunnel.study.seeds import MOST, Race
from windtunnel.study.tune import Tune

# Tags that begin so are no places in a file: a message leaves them out.
Seeds = Annotated[
    Annotated[tuple[int, ...], Tag("function-list")] | Annotated[Race, Tag("function-race")],
    Discriminator(lambda value: "function-race" if isinstance(value, (Mapping, Race)) else "function-list"),
]
# What is written as differences is read when it is merged; schema.py knows the keys.
Difference = Annotated[dict[str, Any], elsewhere("Difference", "keys of a recipe")]
HeldDifference = Annotated[dict[str, Any], elsewhere("HeldDifference", "keys of a recipe")]
WrittenSource = Annotated[Any, elsewhere("Source", "Source")]


class StudyFile(Settings):
    """What a study file says. ``written`` and ``resolved`` hold the recipes of the baseline and every arm."""

    name: str = Field(description="the folder of the result (default: the name of the file)", examples=["which-optimizer"])
    description: str = Field("", description="what the study asks, in a sentence", examples=["Muon against AdamW on our tickets"])
    corpus: dict[str, WrittenSource] = Field(
        description="sources by name, as in a recipe", examples=[{"notes": "~/notes", "mail": "mail.jsonl.zst"}]
    )
    held_out: dict[str, WrittenSource] = Field(
        {},
        description="test sets of your own by name: never trained on, and copies of them neither",
        examples=[{"target": "questions.jsonl"}],
    )
    primary: str | None = Field(
        None,
        description="the number that decides, such as bits_per_byte/target (default: the first of the first evaluation)",
        examples=["bits_per_byte/target"],
    )
    budget: Budget = Field(USUAL, description="what the baseline, and so every arm, may spend", examples=[{"flops": 1e12}])
    seeds: Seeds = Field(
        (0, 1, 2, 3, 4),
        description="seeds, or how many (0, 1, 2, ...), or {least, most} to race",
        examples=[{"least": 3, "most": 12}, 3, [5, 6, 7]],
    )
    baseline: Difference = Field({}, description="a recipe without corpus and budget", examples=[{"section": "S"}])
    recipes: dict[str, HeldDifference] = Field(
        {},
        description="recipes that parts name: by name, what differs from the baseline",
        examples=[{"small": {"model": {"layers": 2}, "share": 0.2}}],
    )
    parts: Many[str] = Field((), description="Python files beside this one that define parts of your own", examples=["my_parts.py"])
    arms: dict[str, Difference] = Field(
        description="by name, what differs from the baseline; {} flies the baseline alone",
        examples=[{"wsd": {"schedule": {"wsd": {"decay": 0.2}}}}],
    )
    tune: Tune | None = Field(
        None,
        description="knobs that are tuned for the baseline and every arm alike",
        examples=[{"optimizer.adamw.learning_rate": [0.001, 0.003], "share": 0.5}],
    )
    rates: RateCheck | None = Field(
        None,
        description="multiples of the learning rates at which baseline and arms fly too, to see whether a win is one of rate",
        examples=[[0.5, 2]],
    )
    confidence: float = Field(0.95, gt=0.5, lt=1, description="with which all intervals of the study hold together", examples=[0.9])
    margin: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="the smallest change that matters, as a share of the baseline's value (default: what a tenth of the compute buys)",
        examples=[0.01],
        json_schema_extra=unit("share of the baseline's value"),
    )
    kept: Many[str] = Field(
        (), description="sources whose knowledge is to be kept while the others are gained: draws both axes", examples=["notes"]
    )
    curve: tuple[float, ...] = Field(
        (0.5, 1.0, 2.0), description="multiples of the budget that the baseline flies at", examples=[[1]], json_schema_extra=unit("budgets")
    )
    curve_seeds: int | None = Field(
        None,
        ge=2,
        description="seeds that fly at multiples other than 1 (default: all); a compute gain rests on these alone",
        examples=[2],
        json_schema_extra=unit("seeds"),
    )

    _recipes: dict[str, Recipe] = PrivateAttr(default_factory=dict)
    _resolved: dict[str, Recipe] = PrivateAttr(default_factory=dict)
    _notes: list[str] = PrivateAttr(default_factory=list)
    _place: Place | None = PrivateAttr(default=None)
    _file: str | None = PrivateAttr(default=None)
    _raw: Mapping[str, Any] = PrivateAttr(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _say_where_it_belongs(cls, data: Any) -> Any:
        for key in data if isinstance(data, Mapping) else ():
            if key not in cls.model_fields and key in {*Recipe.model_fields, *Phase.model_fields, SHORT, SECTION}:
                message = "unknown key {shown} of a study; it belongs under baseline:"
                raise PydanticCustomError("unknown_key", message, {"key": str(key), "shown": repr(key)})
        return data

    @model_validator(mode="after")
    def _keeps_some_and_gains_others(self) -> StudyFile:
        known = {*self.corpus, *(source for arm in self.arms.values() for source in arm.get("corpus") or ())}
        for source in self.kept:
            if source not in known:
                context = {"key": "kept", "shown": repr(source), "hint": nearest(source, known)}
                raise PydanticCustomError("kept", "no source is called {shown}; {hint}", context)
        if self.kept and not known - set(self.kept):
            raise PydanticCustomError("kept", "kept names every source, so there is no source left to gain on", {"key": "kept"})
        return self

    @field_validator("rates", mode="before", json_schema_input_type=float | tuple[float, ...] | RateCheck | None)
    @classmethod
    def _multiples_alone(cls, value: Any) -> Any:
        return {"multiples": value} if isinstance(value, (list, tuple, int, float)) else value

    @field_validator("name")
    @classmethod
    def _a_folder(cls, value: str) -> str:
        if not re.fullmatch(r"\w[\w .+-]*", value):
            raise ValueError(f"{value!r} cannot be the name of a folder; use letters, digits, dot, hyphen and underscore")
        return value

    @field_validator("corpus", "held_out", mode="before")
    @classmethod
    def _named_sources(cls, value: Any) -> Any:
        return {named(name, "source"): source for name, source in value.items()} if isinstance(value, Mapping) else value

    @field_validator("seeds", mode="before", json_schema_input_type=int | Seeds)
    @classmethod
    def _number_or_list(cls, value: Any) -> Any:
        if isinstance(value, int) and not isinstance(value, bool):
            if value < 1:
                raise ValueError("a study needs at least one seed, and two for an interval")
            if value > MOST:
                raise ValueError(f"a study has at most {MOST:,} seeds, not {value:,}")
            return tuple(range(value))
        if value is None or isinstance(value, str):
            raise ValueError(f"{value!r} is neither a number of seeds, nor a list such as [3, 4, 5], nor {{least: 3, most: 12}}")
        return value

    @field_validator("seeds", "curve")
    @classmethod
    def _once_each(cls, value: Any) -> Any:
        if isinstance(value, Race):
            return value
        if not value or len(set(value)) != len(value) or min(value) < 0:
            raise ValueError("expected at least one number, none negative and none twice")
        return value

    @field_validator("curve")
    @classmethod
    def _has_one(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if 1.0 not in value or min(value) <= 0:
            raise ValueError("multiples of the budget must be above 0, and 1 must be among them: it is what arms are compared with")
        return tuple(sorted(value))

    @field_validator("arms", mode="before")
    @classmethod
    def _arms_differ(cls, value: Any) -> Any:
        for name, difference in value.items() if isinstance(value, Mapping) else ():
            if str(name) == BASELINE:
                raise PydanticCustomError("arm", "an arm cannot be called baseline", {"key": str(name)})
            if difference is not None and not isinstance(difference, Mapping):
                shown = {"key": str(name), "shown": reprlib.repr(difference)}
                raise PydanticCustomError("arm", "expected a mapping of what differs from the baseline, not {shown}", shown)
            if not difference:
                raise PydanticCustomError("arm", "the arm says nothing that differs from the baseline", {"key": str(name)})
        if value is None:
            raise ValueError("a study needs arms; `arms: {}` flies the baseline alone, for its curve and the noise of its seeds")
        return {named(name, "arm"): difference for name, difference in value.items()} if isinstance(value, Mapping) else value

    @property
    def race(self) -> Race | None:
        """How seeds are raced; None where their number is fixed."""
        return self.seeds if isinstance(self.seeds, Race) else None

    def racing(self, race: Race) -> StudyFile:
        """This study with its seeds raced as ``race``."""
        return self.model_copy(update={"seeds": race})

    def changed(self, settings: Mapping[str, Any]) -> StudyFile:
        """This study with the keys of ``settings`` in the place of what its file says there, read anew.

        Raises:
            UserError: as :func:`study_from`.
        """
        assert self._place is not None
        again = study_from({**self._raw, **settings}, name=self.name, document=self._place.document, prefix=self._place.prefix)
        again._file = self._file
        return again

    @property
    def seed_list(self) -> tuple[int, ...]:
        """Every seed that may be flown."""
        return tuple(range(self.seeds.most)) if isinstance(self.seeds, Race) else self.seeds

    def seeds_at(self, multiple: float) -> tuple[int, ...]:
        """The seeds that may be flown at a multiple of the budget."""
        return self.seed_list if multiple == 1.0 else self.seed_list[: self.curve_seeds]

    @property
    def rate_seeds(self) -> tuple[int, ...]:
        """The seeds that fly at other learning rates too; of a race none that might never be flown."""
        few = self.rates.seeds if self.rates else 0
        return self.seed_list[: min(few, self.race.least) if self.race else few]

    @property
    def written(self) -> dict[str, Recipe]:
        """The baseline's recipe and that of every arm as the file writes them, by name, the baseline first."""
        return dict(self._recipes)

    @property
    def resolved(self) -> dict[str, Recipe]:
        """As :attr:`written`, with all that checkpoints say, which are opened for it once, and every recipe knowing every source.

        Raises:
            UserError: naming file and line, for a checkpoint that is missing or does not fit, and for arms that cannot be compared.
        """
        if not self._resolved:
            _settle(self, {name: _resolve(self, name, recipe) for name, recipe in self._recipes.items()})
        return dict(self._resolved)

    @property
    def notes(self) -> list[str]:
        """What a reader of the result must know about how arms differ, once they are :attr:`resolved`."""
        return list(self._notes if self.resolved else ())

    @property
    def file(self) -> str | None:
        """Where the study was read from."""
        return self._file

    @property
    def raw(self) -> Mapping[str, Any]:
        """What the file says, as it is written there."""
        return self._raw


@dataclass(frozen=True)
class Place:
    """Where a study stands: at ``prefix`` of ``document`` if it was read from a file. For messages that point there."""

    name: str
    document: Document | None
    prefix: tuple[Any, ...]

    def error(self, path: tuple[Any, ...], message: str) -> UserError:
        """``message`` about what stands at ``path`` of the study."""
        if self.document is not None:
            return self.document.error((*self.prefix, *path), message)
        return UserError(": ".join(filter(None, (self.name, ".".join(map(str, path)), message))))

    def recipe_error(self, error: Exception, path: tuple[Any, ...]) -> UserError:
        """What went wrong with the recipe at ``path``, which inherits what the study and its baseline write."""
        inherits = ((),) if path == (BASELINE,) else ((BASELINE,), ())
        if isinstance(error, ValidationError):
            return self.invalid(error, path, inherits)
        if isinstance(error, NestedError) and self.document is not None and error.model is not None:
            return placed(error, self.document, *((*self.prefix, *place) for place in (path, *inherits)))
        return self.error((isinstance(error, NestedError) and error.path) or path, str(error))

    def invalid(self, error: ValidationError, path: tuple[Any, ...], inherits: Sequence[tuple[Any, ...]] = ()) -> UserError:
        """What pydantic refuses of what stands at ``path``, or where that ``inherits`` from."""
        if self.document is not None:
            return self.document.errors(error, (*self.prefix, *path), tuple((*self.prefix, *place) for place in inherits))
        found = [self.error((*path, *_keys(one["loc"])), told(one)) for one in error.errors()]
        return UserError("\n".join(map(str, found)))


# Reading ------------------------------------------------------------------------------------------------------------------------


def load_study(path: Path | str, corpus: Mapping[str, Any] | None = None, changes: Sequence[str] = ()) -> StudyFile:
    """The study in file ``path``, on the sources of ``corpus`` instead of its own if any are given. No checkpoint is opened.

    ``changes`` are as of :class:`windtunnel.recipe.Document`.

    Raises:
        UserError: naming file, line, key and the nearest valid spelling.
    """
    document = Document(path, changes)
    keys = document.data.keys()
    if "scales" in keys:
        raise UserError(f"{path}: is a paper and not a study; fly it with: windtunnel reproduce {path}")
    if not {"baseline", "arms"} & keys and {*Recipe.model_fields, *Phase.model_fields, SHORT, SECTION} & keys - {"corpus", "budget"}:
        raise UserError(f"{path}: is a recipe and not a study, which has a baseline and arms; train it with: windtunnel train {path}")
    raw = {**document.data, "corpus": dict(corpus)} if corpus else document.data
    study = study_from(raw, name=document.path.stem, document=document)
    study._file = str(path)
    return study


def study_from(raw: Mapping[str, Any], *, name: str, document: Document | None = None, prefix: tuple[Any, ...] = ()) -> StudyFile:
    """The study that a plain mapping describes. ``document`` and ``prefix`` say where it stands, for messages.

    Raises:
        UserError: as :func:`load_study`.
    """
    place = Place(name, document, prefix)
    if document is not None:
        document.define_parts((*prefix, "parts"))
    if not raw.get("corpus"):
        raise place.error((), "no corpus: name its sources in the file (corpus: {notes: ~/notes}) or with --corpus notes=~/notes")
    try:
        study = StudyFile.model_validate({"name": name, **raw})
    except ValidationError as error:
        raise place.invalid(error, ()) from error
    budget = study.budget.model_dump(exclude_none=True)
    shared = {"corpus": raw["corpus"], "held_out": study.held_out, "budget": budget, "recipes": study.recipes}
    base = merge(shared, study.baseline)
    study._place, study._raw = place, raw
    for arm, mapping in {BASELINE: base, **{arm: merge(base, difference) for arm, difference in study.arms.items()}}.items():
        try:
            study._recipes[arm] = recipe_from(mapping, base)
        except (ValidationError, UserError) as error:
            raise place.recipe_error(error, _path_of(arm)) from error
    try:
        refuse_unused(base, study.arms)
    except UserError as error:
        raise place.recipe_error(error, ("recipes",)) from error
    if not any(recipe.checkpoints() for recipe in study._recipes.values()):
        _settle(study, study._recipes)
    else:  # whether arms are the same, and knobs fit, is told when checkpoints are opened
        refuse_incomparable(study._recipes, study, place.error)
        on_the_same_text(study._recipes, place.error)
    return study


def _keys(location: Sequence[Any]) -> tuple[Any, ...]:
    return tuple(key for key in location if not str(key).startswith("function-"))


def _path_of(arm: str) -> tuple[str, ...]:
    return (BASELINE,) if arm == BASELINE else ("arms", arm)


def _resolve(study: StudyFile, arm: str, recipe: Recipe) -> Recipe:
    try:
        return resolve(recipe)
    except (ValidationError, UserError) as error:
        assert study._place is not None
        raise study._place.recipe_error(error, _path_of(arm)) from error


def _settle(study: StudyFile, recipes: Mapping[str, Recipe]) -> None:
    """Refuse what cannot be compared among ``recipes``, which are resolved, and keep them, with what is to be said of them."""
    assert study._place is not None
    complain = study._place.error
    refuse_incomparable(recipes, study, complain)
    refuse_twins(recipes, study, complain)
    found, notes = on_the_same_text(recipes, complain)
    if study.tune:
        check_knobs(study.tune, found, complain)
    study._resolved.update(found)
    study._notes.extend(notes)
