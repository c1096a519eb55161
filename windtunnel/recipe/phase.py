"""A stretch of training with fixed parts."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import Any, Literal, get_args

from pydantic import Field, field_validator, model_validator

from windtunnel.core.part import Part
from windtunnel.core.settings import Settings
from windtunnel.models.settings import ModelSettings
from windtunnel.slots import AfterStep, LossTerm, Mixture, Objective, Optimizer, Packing, Schedule, Selection, Start, Structure, Weighting


def slot_fields(settings: type[Settings]) -> dict[str, type[Part]]:
    """The fields of ``settings`` that hold a part, or several, with the slot of each, as their annotations say."""
    return {key: slot for key, info in settings.model_fields.items() if (slot := _slot_in(info.annotation)) is not None}


def _slot_in(annotation: Any) -> type[Part] | None:
    if isinstance(annotation, type) and issubclass(annotation, Part):
        return annotation
    return next((slot for inner in get_args(annotation) if (slot := _slot_in(inner)) is not None), None)


def parts_of(settings: Settings) -> dict[str, Part]:
    """Every part in the fields of ``settings``, by its place: ``optimizer``, ``losses.0``, ``corpus.code``."""
    found: dict[str, Part] = {}
    for key in slot_fields(type(settings)):
        value = getattr(settings, key)
        if isinstance(value, Part):
            found[key] = value
        else:
            places = value.items() if isinstance(value, Mapping) else enumerate(value or ())
            found |= {f"{key}.{place}": part for place, part in places}
    return found


def held_checkpoints(parts: Iterable[Part]) -> list[tuple[str, str | None]]:
    """The models in folders or on the hub that ``parts`` hold, or recipes in them, each with what its content must be (None: not known)."""
    held = [one for part in parts for one in part.trained().values()]
    found = [(one.folder, one.fingerprint) for one in held if one.folder is not None]
    return found + [each for one in held if one.recipe is not None for each in one.recipe.checkpoints()]


def part_named(names: Any) -> Any:
    """The default of a field that holds parts, written as a file would write it; validation turns it into them."""
    return names


class Phase(Settings):
    """A stretch of training with fixed parts."""

    share: float = Field(1.0, gt=0, le=1, description="share of the budget")
    model: ModelSettings = ModelSettings()
    context: int = Field(128, ge=1, description="units a sequence holds: tokens, images")
    batch: int = Field(16, ge=1, description="sequences in one optimizer step, over all micro-batches and ranks")
    sources: tuple[str, ...] | None = Field(None, description="the corpus sources this phase trains on (default: all)")
    mixture: Mixture = Field(part_named("proportional"), description="how often each source is drawn")
    packing: Packing = Field(part_named("concatenate"), description="how documents become sequences")
    objective: Objective = Field(part_named("next-token"), description="what the model predicts")
    losses: tuple[LossTerm, ...] = Field((), description="terms added to the loss")
    weighting: Weighting | None = Field(None, description="how much each target counts (default: equally)")
    selection: Selection | None = Field(None, description="which of the sequences drawn are trained on (default: all)")
    start: Start | None = Field(None, description="how the weights begin (default: scratch, and in later phases the weights before)")
    structure: Structure | None = Field(None, description="shape imposed on the weights in this phase")
    optimizer: Optimizer = Field(part_named("adamw"), description="what turns gradients into updates")
    schedule: Schedule = Field(part_named("cosine"), description="how the learning rate moves within the phase")
    rate_multiple: float = Field(1.0, gt=0, description="what every learning rate of the optimizer is multiplied with")
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
        return list(parts_of(self).values())

    def positions(self, facts: Any) -> int:
        """How many positions the model reads of a sequence, which budgets count as tokens. ``facts`` are those of the encoding."""
        number, positions = self.model.family.inputs(facts, self.context)
        return number * positions

    def checkpoints(self) -> list[tuple[str, str | None]]:
        """The models in folders or on the hub that it begins from or holds, each with what its content must be (None: not known)."""
        found = held_checkpoints(self.parts())
        if self.start is not None and (origin := self.start.origin()) is not None and hasattr(self.start, "fingerprint"):
            found.append((origin, self.start.fingerprint))
        return found

    @model_validator(mode="after")
    def _fit_together(self) -> Phase:
        if self.model.kind is not None and self.model.kind not in self.objective.kinds:
            fit = ", ".join(self.objective.kinds)
            raise ValueError(
                f"objective {self.objective.name} needs a model of kind {fit}; {self.model.family.name} is of kind {self.model.kind}"
            )
        for one, other in itertools.permutations(self.parts(), 2):
            if other.name in one.conflicts:
                raise ValueError(f"{one.name} cannot be combined with {other.name}: {one.conflicts[other.name]}")
        if self.moments == "kept" and self.start is not None:
            raise ValueError("moments: kept needs the weights of the phase before; a start builds other weights")
        return self
