"""Equal tuning: the same knobs, the same values and the same number of trials for the baseline and for every arm.

A knob is written as the path to it in a resolved recipe: ``optimizer.adamw.learning_rate``, ``batch``, ``model.dropout``;
``optimizer.*.learning_rate`` means the learning rate of whichever optimizer the recipe uses. It is set in every phase that has it.
"""

from __future__ import annotations

import copy
import itertools
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_core import PydanticCustomError

from windtunnel.core.errors import UserError, nearest, told
from windtunnel.core.settings import Settings, unit
from windtunnel.recipe import Phase, Recipe, times
from windtunnel.recipe.settings import LONG, SHORT

OWN = ("trials", "share", "widen")  # keys of `tune` that are no knobs


class Tune(Settings):
    """What is tuned. In YAML the knobs stand directly under ``tune``, beside ``trials``, ``share`` and ``widen``."""

    knobs: dict[str, tuple[Any, ...]] = Field(
        description="values to try, by the dotted path of the knob; they may stand under `tune` directly",
        examples=[{"batch": [4, 8]}],
    )
    trials: int | None = Field(
        None,
        ge=1,
        description="how many of all combinations are tried (default: all; the same ones for every arm)",
        examples=[4],
        json_schema_extra=unit("trials"),
    )
    share: float = Field(
        1.0,
        gt=0,
        le=1,
        description="share of the budget that a trial spends",
        examples=[0.3],
        json_schema_extra=unit("share of the budget"),
    )
    widen: int = Field(
        0,
        ge=0,
        description="most values tried beyond the ends of a knob, one by one, while the best lies at an end",
        examples=[2],
        json_schema_extra=unit("values"),
    )

    @model_validator(mode="before")
    @classmethod
    def _gather_knobs(cls, data: Any) -> Any:
        if not isinstance(data, Mapping) or "knobs" in data:
            return data
        knobs = {key: values for key, values in data.items() if key not in OWN}
        known = set(tunable())
        for key in knobs:
            first = str(key).split(".")[0]
            if first not in known:
                raise PydanticCustomError(
                    "unknown_key",
                    "{shown} is neither trials, share, widen nor the path of a knob; {hint}",
                    {"key": str(key), "shown": repr(key), "hint": nearest(first, known)},
                )
        return {"knobs": knobs, **{key: data[key] for key in OWN if key in data}}

    @field_validator("knobs", mode="before")
    @classmethod
    def _lists(cls, value: Any) -> Any:
        if not isinstance(value, Mapping) or not value:
            raise ValueError("name at least one knob, for example optimizer.adamw.learning_rate: [0.001, 0.003, 0.01]")
        for knob, values in value.items():
            if not isinstance(values, (list, tuple)) or not values:
                raise ValueError(f"{knob}: expected a list of values to try")
        return value

    def combinations(self) -> list[dict[str, Any]]:
        """Every combination of values, or ``trials`` of them drawn by a fixed rule."""
        grid = [dict(zip(self.knobs, values, strict=True)) for values in itertools.product(*self.knobs.values())]
        if self.trials is None or self.trials >= len(grid):
            return grid
        chosen = sorted(random.Random(0).sample(range(len(grid)), self.trials))
        return [grid[index] for index in chosen]

    def seed(self, seeds: Sequence[int]) -> int:
        """The seed of every trial: none of the study's, so that no arm is chosen by the luck it is judged with."""
        return next(seed for seed in itertools.count(1000) if seed not in seeds)


def tunable() -> list[str]:
    """The fields of a recipe that paths of knobs begin with."""
    return sorted({*Recipe.model_fields, *Phase.model_fields, SHORT} - {"corpus", "budget", "split", "phases", "share"})


def with_knobs(recipe: Recipe, values: Mapping[str, Any], share: float = 1.0) -> Recipe:
    """``recipe`` with the knobs set in the recipe itself and in every phase that has them, at ``share`` of its budget.

    Raises:
        UserError: naming a knob that the recipe lacks, or a value it refuses.
    """
    data = copy.deepcopy(recipe.model_dump(mode="json"))
    phases = data.pop("phases")
    for knob, value in values.items():
        path = str(knob).split(".")
        path = ["encoding", LONG, *path[1:]] if path[0] == SHORT else path
        if not sum(_assign(place, path, value) for place in (data, *phases)):
            known = sorted({knob for place in (data, *phases) for knob in _paths(place)})
            raise UserError(f"the recipe has no knob {knob}; {nearest(str(knob), _similar(path[0], known))}")
    try:
        changed = Recipe.model_validate({**data, "phases": phases})
    except ValidationError as error:
        details = "; ".join(told(detail) for detail in error.errors())
        shown = ", ".join(f"{knob}: {value}" for knob, value in values.items())
        raise UserError(f"the recipe cannot take {shown}: {details}") from error
    return times(changed, share)


def _assign(place: Any, path: Sequence[str], value: Any) -> int:
    """Set ``value`` at ``path`` below ``place``, in each part of a list; the number of places that were set."""
    if isinstance(place, list):
        return sum(_assign(entry, path, value) for entry in place)
    if not isinstance(place, dict):
        return 0
    head, *rest = path
    keys = list(place) if head == "*" else [head] if head in place else []
    if rest:
        return sum(_assign(place[key], rest, value) for key in keys)
    for key in keys:
        place[key] = value
    return len(keys)


def _paths(place: Any, before: str = "") -> Iterator[str]:
    if isinstance(place, list) and any(isinstance(entry, dict) for entry in place):
        for entry in place:
            yield from _paths(entry, before)
    elif isinstance(place, dict) and place:
        for key, entry in place.items():
            yield from _paths(entry, f"{before}.{key}" if before else key)
    elif before:
        yield before


def _similar(first: str, known: Sequence[str]) -> list[str]:
    """The knobs under the same field, if there are any: a list of all of them helps nobody."""
    return [knob for knob in known if knob.split(".")[0] == first] or list(known)


def beyond(knobs: Mapping[str, Sequence[Any]], trials: Sequence[Mapping[str, Any]], better: str) -> dict[str, Any] | None:
    """The values to try next where the best of ``trials`` lies at an end of a knob: one step further, the other knobs as they are.

    A step is the ratio by which the values of the knob lie apart, on average; a knob of fewer than three values, or of values that are
    not all above zero, has no ends. A trial that failed counts as tried. None where the best lies within.
    """
    found = best(trials, better)
    if found is None:
        return None
    for knob, given in knobs.items():
        if len(given) < 3 or not all(isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0 for value in given):
            continue
        chosen = found["values"]
        beside = [trial["values"] for trial in trials if all(trial["values"][key] == chosen[key] for key in knobs if key != knob)]
        tried = sorted(values[knob] for values in beside)
        step = (max(given) / min(given)) ** (1 / (len(given) - 1))
        if chosen[knob] in (tried[0], tried[-1]) and not min(given) < chosen[knob] < max(given):
            further = chosen[knob] / step if chosen[knob] == tried[0] else chosen[knob] * step
            whole = all(isinstance(value, int) for value in given)
            value = round(further) if whole else float(f"{further:.3g}")
            if value > 0 and value != chosen[knob]:
                return {**chosen, knob: value}
    return None


def best(trials: Sequence[Mapping[str, Any]], better: str) -> Mapping[str, Any] | None:
    """The trial with the best ``validation``; None where none finished. Of equals the first, which is in the order of the file."""
    done = [trial for trial in trials if trial.get("validation") is not None]
    if not done:
        return None
    return (max if better == "higher" else min)(done, key=lambda trial: trial["validation"])
