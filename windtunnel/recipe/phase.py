"""A stretch of training with fixed parts."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import Any, Literal, get_args

from pydantic import Field, model_validator

from windtunnel.core.part import Part
from windtunnel.core.settings import Many, Settings, unit
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

    share: float = Field(1.0, gt=0, le=1, description="share of the budget", examples=[0.2], json_schema_extra=unit("share of the budget"))
    model: ModelSettings = Field(ModelSettings(), description="the network: its family and sizes", examples=[{"depth": 6, "width": 384}])
    context: int = Field(
        128, ge=1, description="units a sequence holds: tokens, images", examples=[256], json_schema_extra=unit("units: tokens, images")
    )
    batch: int = Field(
        16,
        ge=1,
        description="sequences in one optimizer step, over all micro-batches and ranks",
        examples=[32],
        json_schema_extra=unit("sequences"),
    )
    sources: Many[str] | None = Field(None, description="the corpus sources this phase trains on (default: all)", examples=[["notes"]])
    mixture: Mixture = Field(
        part_named("proportional"),
        description="how often each source is drawn",
        examples=[{"fixed": {"shares": {"notes": 0.8, "code": 0.2}}}],
    )
    packing: Packing = Field(part_named("concatenate"), description="how documents become sequences", examples=["whole-documents"])
    objective: Objective = Field(part_named("next-token"), description="what the model predicts", examples=["ul2"])
    losses: Many[LossTerm] = Field(
        (), description="terms added to the loss", examples=[{"distillation": {"teacher": {"folder": "~/models/teacher"}}}]
    )
    weighting: Weighting | None = Field(None, description="how much each target counts (default: equally)", examples=["repeats"])
    selection: Selection | None = Field(
        None,
        description="which of the sequences drawn are trained on (default: all)",
        examples=[{"learnable": {"scorer": {"folder": "~/models/small"}}}],
    )
    start: Start | None = Field(
        None,
        description="how the weights begin (default: scratch, and in later phases the weights before)",
        examples=[{"checkpoint": "~/models/mine"}],
    )
    structure: Structure | None = Field(
        None, description="shape imposed on the weights in this phase", examples=[{"low-rank": {"rank": 16}}]
    )
    optimizer: Optimizer = Field(part_named("adamw"), description="what turns gradients into updates", examples=["muon"])
    schedule: Schedule = Field(
        part_named("cosine"), description="how the learning rate moves within the phase", examples=[{"wsd": {"decay": 0.2}}]
    )
    rate_multiple: float = Field(1.0, gt=0, description="what every learning rate of the optimizer is multiplied with", examples=[0.5])
    after_step: Many[AfterStep] = Field((), description="what happens after each step", examples=["reptile"])
    clip: float | None = Field(
        1.0, gt=0, description="largest gradient norm (null: no clipping)", examples=[0.5], json_schema_extra=unit("norm of the gradient")
    )
    moments: Literal["fresh", "kept"] = Field(
        "fresh", description="whether the optimizer's moments are carried over from the phase before", examples=["kept"]
    )

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
