"""What has to be flown for a study, and what that takes, told without flying it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from windtunnel.core.errors import UserError
from windtunnel.core.keys import Variant
from windtunnel.recipe import Budget, Recipe, at_rate, data_key, each_recipe, held_by, held_by_curators, needed, run_name, times
from windtunnel.study.entry import Entry
from windtunnel.study.file import StudyFile
from windtunnel.study.result import BASELINE

VARIANT, BUDGET = "variant.json", "budget-{}.json"  # in the folder of a study: how its steps are computed, its budget in FLOPs


def plan(
    study: StudyFile,
    recipes: Mapping[str, Recipe],
    data: Mapping[str, str],
    variant: Variant,
    planned: Mapping[str, int] | None = None,
) -> list[Entry]:
    """Every run the study needs: the baseline at each multiple and each arm, with each seed, and both at other rates with a few.

    Args:
        data: the fingerprint of each arm's prepared stream; arms without one are left out.
        planned: how many of the seeds each arm flies (default: all); the baseline flies as many as any arm.
    """
    runs = [(BASELINE, multiple) for multiple in study.curve] + [(arm, 1.0) for arm in recipes if arm != BASELINE]
    wanted = {BASELINE: max(planned.values(), default=0), **planned} if planned else dict.fromkeys(recipes, len(study.seed_list))
    found = [
        run_of(arm, multiple, seed, recipes[arm], data[arm], variant)
        for arm, multiple in runs
        if arm in data
        for seed in study.seeds_at(multiple)[: wanted[arm]]
    ]
    rates = study.rates.multiples if study.rates else ()
    return found + [
        run_of(arm, 1.0, seed, recipes[arm], data[arm], variant, rate)
        for rate in rates
        for arm in recipes
        if arm in data
        for seed in study.rate_seeds
    ]


def at_one_budget(recipes: Mapping[str, Recipe], flops: Callable[[Recipe], float]) -> dict[str, Recipe]:
    """``recipes`` of a study with the FLOPs that each may spend, where the budget is the baseline's tokens per parameter.

    ``flops`` says how many FLOPs that budget of the baseline takes. An arm with a budget of its own keeps it. Recipes that they need and
    that have a share of the budget get that share of these FLOPs; those that curators hold are flown before a step can be counted, on so
    many tokens for each of their own parameters.
    """
    base = recipes[BASELINE]
    if base.budget.unit != "tokens_per_parameter":
        return dict(recipes)
    whole = Budget(flops=flops(base))

    def settled(one: Recipe) -> Recipe:
        if one.budget.shared:
            return one.model_copy(update={"budget": whole.times(one.budget.amount / base.budget.amount)})
        return one

    found = {arm: each_recipe(recipe, settled, curators=False) for arm, recipe in recipes.items()}
    return {arm: recipe.model_copy(update={"budget": whole}) if recipe.budget == base.budget else recipe for arm, recipe in found.items()}


def run_of(arm: str, multiple: float, seed: int, recipe: Recipe, data: str, variant: Variant, rate: float = 1.0) -> Entry:
    """One run of ``recipe`` at a multiple of its budget and of its learning rates, on the stream whose fingerprint is ``data``."""
    recipe = at_rate(times(recipe, multiple), rate)
    key = recipe.key(seed, variant)
    return Entry(arm, multiple, seed, recipe, key, f"runs/{run_name(key, data)}", variant, rate)


def shorter_of(entry: Entry, entries: Iterable[Entry]) -> list[Entry]:
    """The runs among ``entries`` that ``entry`` may hand its beginning: of its arm and seed, at smaller multiples of the budget."""
    from windtunnel.train.branch import may_branch

    alike = (one for one in entries if (one.arm, one.seed) == (entry.arm, entry.seed) and one.multiple < entry.multiple)
    return [one for one in alike if may_branch(entry.recipe, one.recipe)]


def needed_by(
    entries: Sequence[Entry],
    data: Mapping[str, str],
    variant: Variant,
    others: Mapping[str, str] | None = None,
    flown: Callable[[Entry, bool], bool] = lambda run, weights: False,
) -> list[list[Entry]]:
    """The runs whose models ``entries`` need, each once, in stages: those of a stage need only what is in the stages before.

    Args:
        entries: runs that are going to be flown.
        data: the fingerprint of the stream of each arm.
        variant: of the study.
        others: the fingerprint of each stream by its data key, for models that are not trained on that of their arm.
        flown: whether a run is there already, and with its weights where these are asked for. A run needs the weights of those that its
            own parts hold; of those that these hold it needs the record, because their cost is charged to it.
    """
    depth: dict[str, int] = {}
    found: dict[str, Entry] = {}
    for entry in entries:
        wanted = {one.identity() for one in held_by(entry.recipe, curators=False)}
        missing = []
        for name, recipe in reversed(needed(entry.recipe, curators=False).items()):
            run = run_of(entry.arm, 1.0, entry.seed, recipe, (others or {}).get(data_key(recipe)) or data[entry.arm], variant)
            if not flown(run, name in wanted):
                missing.append(run)
                wanted |= {one.identity() for one in held_by(recipe, curators=False)}
        for run in reversed(missing):
            found.setdefault(run.key, run)
            inner = (depth.get(one.key(entry.seed, variant), -1) for one in needed(run.recipe, curators=False).values())
            depth[run.key] = 1 + max(inner, default=-1)
    return [[found[key] for key in found if depth[key] == stage] for stage in range(max(depth.values(), default=-1) + 1)]


def of_curators(recipe: Recipe) -> list[Recipe]:
    """The recipes whose models the curators hold of ``recipe``, of those that it needs, and of these."""
    every = [recipe, *needed(recipe).values()]
    return list({one.identity(): one for each in every for one in held_by_curators(each)}.values())


def roughly(study: StudyFile, variant: Variant) -> dict[str, Recipe]:
    """The recipes of ``study`` with budgets estimated before anything is read or timed; refuses what could not fly even so."""
    from windtunnel.train.estimate import estimate

    refuse_too_large(study.resolved)
    recipes = at_one_budget(study.resolved, lambda base: estimate(base)["own_flops"])
    refuse_what_cannot_fly(plan(study, recipes, dict.fromkeys(recipes, ""), variant))
    return recipes


def refuse_too_large(recipes: Mapping[str, Recipe]) -> None:
    """Raise UserError where no machine could train a recipe, before anything is reckoned of it."""
    from windtunnel.train.estimate import too_large

    for arm, recipe in recipes.items():
        for one in (*needed(recipe).values(), recipe):
            if (problem := too_large(one)) is not None:
                raise UserError(f"{who(arm)}: {problem}")


def who(arm: str) -> str:
    """An arm in a sentence."""
    return "the baseline" if arm == BASELINE else f"arm {arm}"


def refuse_what_cannot_fly(entries: Sequence[Entry]) -> None:
    """Say before anything flies that a run cannot. The run itself knows the exact cost of a step; here it is estimated."""
    for entry in {entry.key: entry for entry in entries}.values():
        problem = what_cannot_fly(entry.recipe)
        if problem:
            where = who(entry.arm) if entry.multiple == 1.0 else f"{who(entry.arm)} at {entry.multiple:g} budgets"
            raise UserError(f"{where}: {problem}")


def what_cannot_fly(recipe: Recipe) -> str | None:
    """Which phase of ``recipe``, or of one that it needs, cannot be flown and what to do, or None."""
    from windtunnel.train.estimate import dry_batch, too_large

    for one in (*needed(recipe).values(), recipe):
        if problem := too_large(one):
            return problem
        for number, phase in enumerate(one.phases, 1):
            try:
                dry_batch(phase, one.encoding)
            except UserError as error:
                return f"phase {number}: {error}"
            except MemoryError as error:
                return f"phase {number}: one sequence does not fit into memory: {error}; lower context, or the sizes of {one.encoding.name}"
        if problem := less_than_a_step(one):
            return problem
    return None


def less_than_a_step(recipe: Recipe) -> str | None:
    """Which phase of ``recipe`` cannot make a step and what to do, or None; FLOPs are estimated, tokens and steps are exact."""
    from windtunnel.train.estimate import estimate

    enough = {"flops": 0.75, "effective_flops": 0.75, "tokens": 1 - 1e-9, "steps": 1 - 1e-9, "seconds": 0.0}[recipe.allowance.unit]
    for number, phase in enumerate(recipe.phases, 1):
        alone = (phase.model_copy(update={"share": 1.0}),)
        steps = estimate(recipe.model_copy(update={"phases": alone}))["own_steps"] * phase.share
        if steps < enough:
            amount = f"{phase.share * recipe.allowance.amount:.3g} {recipe.allowance.unit}"
            return (
                f"phase {number} may spend {amount}, which is about {steps:.2g} of one step; "
                "raise the budget or the share, or lower batch, context or depth"
            )
    return None
