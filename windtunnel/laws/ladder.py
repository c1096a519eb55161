"""The rungs of a ladder: one study at several sizes, with shape, batch and rates carried over by rule.

A forecast needs the same arms at several scales. Rates and batches that were set by hand at each size would be another difference between
the scales; so all are carried by the rules of :func:`windtunnel.laws.plan.resized`, alike for the baseline and every arm. Budgets in tokens
per parameter grow with the size by themselves.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from windtunnel.core.errors import UserError
from windtunnel.laws.plan import resized
from windtunnel.recipe import Recipe, needed
from windtunnel.study.file import StudyFile
from windtunnel.study.result import BASELINE
from windtunnel.train.estimate import estimate

DIGITS = 4  # of what is carried: more would only look exact
FAR = 1.5  # times the size that is asked for: what is reached may be so much larger or smaller
HEADS = {"heads", "key_value_heads"}


def rung(study: StudyFile, size: float) -> dict[str, Any]:
    """``study`` with a baseline of about ``size`` parameters, as a study file has it.

    Raises:
        UserError: for what :func:`_refuse` refuses, and a size that is none, or that no width of this shape comes near.
    """
    _refuse(study)
    if not 0 < size < math.inf:
        raise UserError(f"--sizes {size:g}: a number of parameters above zero, such as 4e4")
    recipes = study.resolved
    growth = size / estimate(recipes[BASELINE])["parameters"]
    reached = estimate(resized(recipes[BASELINE], growth))["parameters"]
    if abs(math.log(reached / size)) > math.log(FAR):
        raise UserError(
            f"--sizes {size:g}: with its layers and vocabulary {study.name} comes to {reached:.3g}, which is far from that; give it instead"
        )
    base = _carried(recipes[BASELINE], growth)
    arms = {arm: _arm(study.arms[arm], _carried(recipes[arm], growth), base) for arm in study.arms}
    found = {**study.raw, "name": f"{study.name}-{_thousands(size)}", "baseline": {**study.baseline, **base}, "arms": arms}
    if study.parts and study.file:  # which lie beside the study, and not beside the rung
        found["parts"] = [str((Path(study.file).parent / Path(name).expanduser()).resolve()) for name in study.parts]
    return {"name": found.pop("name"), **found}


def _refuse(study: StudyFile) -> None:
    """Refuse what one rule cannot carry to another size.

    Raises:
        UserError: for recipes of several phases, or that begin from or hold other models, whose sizes depend on each other; a study that
            tunes at its size; a budget that does not grow with the size; and arms about heads, which follow from the width.
    """
    recipes = study.resolved
    for arm, one in recipes.items():
        several, others = len(one.phases) > 1, bool(one.checkpoints() or needed(one))
        if several or others:
            place, cure = (arm, "write each size by hand") if arm == BASELINE else (f"arms.{arm}", "leave it out of the ladder")
            what = " and ".join(["several phases"] * several + ["other models"] * others)
            raise UserError(f"{study.name}: {place} has {what}, whose sizes depend on each other; {cure}")
    if study.recipes:
        raise UserError(f"{study.name}: recipes are of other models, whose sizes depend on each other; leave them out of the ladder")
    if study.tune or study.rates:
        raise UserError(f"{study.name}: tunes, or checks rates, at one size; a ladder carries rates by rule, so leave out tune and rates")
    if study.budget.tokens_per_parameter is None:
        raise UserError(f"{study.name}: the budget does not grow with the size; give it as {{tokens_per_parameter: 20}}")
    for arm, difference in study.arms.items():
        if "tokens_per_parameter" not in difference.get("budget", {"tokens_per_parameter": None}):
            raise UserError(f"{study.name}: arms.{arm}.budget does not grow with the size; give it as {{tokens_per_parameter: 20}}")
        for key in HEADS & (difference.get("model") or {}).keys():
            raise UserError(f"{study.name}: arms.{arm}.model.{key}: heads follow from the width of each size; write each size by hand")


def _carried(recipe: Recipe, growth: float) -> dict[str, Any]:
    """The settings of ``recipe`` that a rung changes, those of the model whole."""
    phase = resized(recipe, growth).phases[0]
    model = phase.model.model_dump(mode="json")
    if phase.model.initializer_range is not None:
        model["initializer_range"] = _short(phase.model.initializer_range)
    return {"model": model, "batch": phase.batch, "rate_multiple": _short(phase.rate_multiple)}


def _arm(difference: dict[str, Any], mine: dict[str, Any], base: dict[str, Any]) -> dict[str, Any]:
    """What an arm says on a rung: what it is about, and of the carried settings those that are not the baseline's."""
    model = {key: value for key, value in mine["model"].items() if key not in base["model"] or value != base["model"][key]}
    rest = {key: value for key, value in mine.items() if key != "model" and value != base[key]}
    kept = {key: value for key, value in difference.items() if key not in mine}
    return {**kept, **({"model": model} if model else {}), **rest}


def _thousands(size: float) -> str:
    return f"{size / 1e6:.3g}m" if size >= 1e6 else f"{size / 1e3:.3g}k"


def _short(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")
