"""What a family of models of several depths costs when what they begin from is paid once, and what has to be stored to begin them.

A study charges an ancestor and a learned gene in full to every arm, since each arm must pay for itself. Who wants one model of each of
several depths pays them once. Here arms that go the same way to different depths are taken together: the family costs what each arm
trains itself, and once what any of them begins from or is taught by. The same rule serves all ways: a learned gene is one model for
all depths, pre-training and fine-tuning has a pre-trained model for each, training from scratch has none.

Stored parameters are those of the models that the starts of the arms begin from, each counted once, as it was trained: of layers on a
line, or of blocks that share, the trained parameters only (embeddings and head included). Teachers, and so the ancestor of a gene, are
not stored.

``windtunnel law family-cost RESULT [WAY=ARM,ARM ...]`` prints what :func:`family_cost` finds in a study's result.json or
a paper's result. Without ways, arms named WAY-DEPTH belong together (line-4, line-6), and the baseline belongs to ``scratch``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from windtunnel.core.errors import UserError, nearest
from windtunnel.kits.text.network import TokenFacts
from windtunnel.recipe import Recipe, needed
from windtunnel.study.lenient import as_result
from windtunnel.study.result import BASELINE, StudyResult

SCRATCH = "scratch"


def family_cost(result: StudyResult | Mapping[str, Any], ways: Mapping[str, Sequence[str]] | None = None) -> dict[str, Any]:
    """The cost of each way to a family of depths, from the result of a study whose budgets are in FLOPs.

    Args:
        result: the content of a study's result.json or of a paper's result.
        ways: the arms of each way, one for each depth (default: by their names).

    Returns:
        ``metric``, and for each of ``ways``: ``depths`` (by layers: ``arm``, its mean ``loss``, and ``flops`` of its own training and of
        models that it is the first to need, but not all depths do), ``once_flops`` (models that every depth needs), ``flops`` (both
        together), ``flops_unshared`` (had every depth paid for all it needs), ``stored_parameters`` and ``stored_models``; where the way
        called ``scratch`` has the same depths, also ``against_scratch`` (the ratio of ``flops``) and ``cheaper_from_depths`` (how many
        depths like these it takes to cost less than scratch does; None where none suffices or a single depth cannot tell).
        Models needed cost their budgets, of which a run spends all but at most one step. Equal cost is not equal loss.

    Raises:
        UserError: for an unknown or unfinished arm, a depth that a way has twice, or a needed recipe whose budget is not in FLOPs.
    """
    result = as_result(result)
    recipes = {name: Recipe.model_validate(recipe) for name, recipe in result.recipes.items()}
    vocabulary = int(result.stream.encoding["vocabulary"])
    found = {way: _way(way, arms, recipes, result, vocabulary) for way, arms in (ways or by_name(recipes)).items()}
    scratch = found.get(SCRATCH)
    for name, way in found.items():
        if scratch is None or name == SCRATCH or scratch["depths"].keys() != way["depths"].keys():
            continue
        count = len(way["depths"])
        saved = (scratch["flops"] - (way["flops"] - way["once_flops"])) / count  # by a further depth
        way["against_scratch"] = way["flops"] / scratch["flops"]
        way["cheaper_from_depths"] = int(way["once_flops"] // saved) + 1 if saved > 0 and count > 1 else None
    return {"metric": result.study.metric, "ways": found}


def _way(way: str, arms: Sequence[str], recipes: Mapping[str, Recipe], result: StudyResult, vocabulary: int) -> dict[str, Any]:
    for arm in arms:
        if arm not in recipes:
            raise UserError(f"the study has no arm {arm!r}; {nearest(arm, recipes)}")
    costs = {arm: own_costs(recipes[arm]) for arm in arms}
    common = set.intersection(*(set(cost) for cost in costs.values()))
    paid, unshared = set(common), 0.0
    stored: dict[str, int] = {}
    depths: dict[str, dict[str, Any]] = {}
    for arm in arms:
        spent = result.baseline.flops if arm == BASELINE else result.arms[arm].flops
        layers = str(_layers(recipes[arm]))
        if spent is None:
            raise UserError(f"arm {arm} has no finished run")
        if layers in depths:
            raise UserError(f"way {way} has two arms of {layers} layers, {depths[layers]['arm']} and {arm}; name one for each depth")
        first = sum(cost for key, cost in costs[arm].items() if key not in paid)
        paid |= costs[arm].keys()
        unshared += spent
        stored |= {recipe.identity(): parameters(recipe, vocabulary) for recipe in begins_from(recipes[arm])}
        loss = (result.baseline.test if arm == BASELINE else result.arms[arm].test).mean
        depths[layers] = {"arm": arm, "flops": spent - sum(costs[arm].values()) + first, "loss": loss}
    once = sum(costs[arms[0]][key] for key in common)
    return {
        "depths": dict(sorted(depths.items(), key=lambda entry: int(entry[0]))),
        "once_flops": once,
        "flops": once + sum(depth["flops"] for depth in depths.values()),
        "flops_unshared": unshared,
        "stored_parameters": sum(stored.values()),
        "stored_models": len(stored),
    }


def by_name(recipes: Mapping[str, Recipe]) -> dict[str, list[str]]:
    """Arms called WAY-DEPTH, where DEPTH is their number of layers, by way; the baseline counts as from scratch.

    Raises UserError where no arm is called so.
    """
    ways: dict[str, list[str]] = {}
    for arm, recipe in recipes.items():
        named = re.fullmatch(r"(.+)-(\d+)", arm)
        if named and int(named[2]) == _layers(recipe):
            ways.setdefault(named[1], []).append(arm)
    if not ways:
        raise UserError("no arm is named WAY-DEPTH with the number of its layers (line-4); say which belong together: WAY=ARM,ARM")
    if BASELINE in recipes and _layers(recipes[BASELINE]) not in [_layers(recipes[arm]) for arm in ways.get(SCRATCH, [])]:
        ways.setdefault(SCRATCH, []).append(BASELINE)
    return ways


def own_costs(recipe: Recipe) -> dict[str, float]:
    """The FLOPs that each recipe needed by ``recipe`` is given for itself, by key. Raises UserError for a budget in another unit."""
    costs: dict[str, float] = {}
    for key, one in needed(recipe).items():  # what is needed by others comes first
        if one.budget.unit != "flops":
            raise UserError(f"a needed recipe has a budget in {one.budget.unit}; the cost of a family is counted in flops")
        costs[key] = one.budget.amount - sum(costs[inner] for inner in needed(one))
    return costs


def begins_from(recipe: Recipe) -> list[Recipe]:
    """The recipes whose models the starts of ``recipe`` begin from."""
    starts = [phase.start for phase in recipe.phases if phase.start is not None]
    return [t.recipe for start in starts for t in start.trained().values() if t.recipe is not None]


def parameters(recipe: Recipe, vocabulary: int) -> int:
    """How many numbers the last phase of ``recipe`` trains, tied and shared ones once, with ``vocabulary`` tokens. No weight is drawn."""
    from windtunnel.models.init import config_for, hollow

    phase = recipe.phases[-1]
    model = hollow(config_for(phase.model, TokenFacts(vocabulary), phase.context))
    model.tie_weights()
    if phase.structure is not None:
        phase.structure.apply(model)
    return sum(parameter.numel() for parameter in model.parameters())


def _layers(recipe: Recipe) -> int | None:
    return recipe.phases[-1].model.sizes().layers
