"""What has to be flown for a study, and what that takes, told without flying it."""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from windtunnel.core.errors import UserError
from windtunnel.core.keys import Variant
from windtunnel.recipe import Budget, Recipe, at_rate, data_key, held_by, held_by_curators, needed, run_name, times
from windtunnel.slots import Progress
from windtunnel.study.file import StudyFile
from windtunnel.study.launch import local
from windtunnel.study.launch.watch import duration
from windtunnel.study.result import BASELINE, Entry
from windtunnel.study.tune import with_knobs
from windtunnel.train.curation import PLAIN, SEED
from windtunnel.train.record import finished_record, has_weights

VARIANT, BUDGET = "variant.json", "budget-{}.json"  # in the folder of a study: how its steps are computed, its budget in FLOPs
LEAST = 1.0  # tokens per parameter below which `check` warns
UTILISATION = 1 / 3  # the share of the matmul rate that small models reach; what is reckoned with


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
        for seed in study.seed_list[: wanted[arm]]
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

    ``flops`` says how many FLOPs that budget of the baseline takes. An arm with a budget of its own keeps it.
    """
    base = recipes[BASELINE]
    if base.budget.unit != "tokens_per_parameter":
        return dict(recipes)
    shared = Budget(flops=flops(base))
    return {
        arm: recipe.model_copy(update={"budget": shared}) if recipe.budget == base.budget else recipe for arm, recipe in recipes.items()
    }


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


def refuse_what_cannot_fly(entries: Sequence[Entry]) -> None:
    """Say before anything flies that a run cannot. The run itself knows the exact cost of a step; here it is estimated."""
    for entry in {entry.key: entry for entry in entries}.values():
        problem = what_cannot_fly(entry.recipe)
        if problem:
            who = "the baseline" if entry.arm == BASELINE else f"arm {entry.arm}"
            where = who if entry.multiple == 1.0 else f"{who} at {entry.multiple:g} budgets"
            raise UserError(f"{where}: {problem}")


def what_cannot_fly(recipe: Recipe) -> str | None:
    """Which phase of ``recipe``, or of one that it needs, cannot be flown and what to do, or None."""
    from windtunnel.train.estimate import dry_batch

    for one in (*needed(recipe).values(), recipe):
        for number, phase in enumerate(one.phases, 1):
            try:
                dry_batch(phase, one.encoding)
            except UserError as error:
                return f"phase {number}: {error}"
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


def check_study(study: StudyFile, out: Path | None = None, *, workers: int | None = None, threads: int | None = None) -> dict[str, Any]:
    """What flying ``study`` takes, without flying it.

    Returns:
        ``runs``, ``flops`` and ``seconds`` (estimated) of what is still to be flown, ``cached`` runs that ``out`` already holds,
        ``trials`` of tuning, and by arm ``flops``, ``tokens``, ``steps`` and ``parameters`` of one run. ``epochs`` by arm and source
        once the stream is prepared, else None. ``seconds`` rests on the ``matmul_rate`` measured now (FLOPs per second of one worker)
        times ``utilisation``, for ``workers`` at once. Of a race these are the most it may take; ``least`` holds ``seeds``, ``runs``,
        ``flops`` and ``seconds`` of its first look, else None.
    """
    import torch

    from windtunnel.train.estimate import estimate
    from windtunnel.train.machine import matmul_rate, threads_of

    variant = _variant(study, out)
    recipes = at_one_budget(study.resolved, lambda base: _counted(study, out, base, variant) or estimate(base)["own_flops"])
    entries = plan(study, recipes, dict.fromkeys(recipes, ""), variant)
    refuse_what_cannot_fly(entries)
    if study.tune:
        # What tuning will choose is not known, so runs are costed as the file has them; trials add theirs.
        seed = study.tune.seed(study.seed_list)
        for arm, recipe in recipes.items():
            entries += [
                run_of(arm, 1.0, seed, with_knobs(recipe, values, study.tune.share), "", variant) for values in study.tune.combinations()
            ]

    def flown(run: Entry, weights: bool = False) -> bool:
        chosen = study.tune is None or run.seed not in study.seed_list
        return chosen and out is not None and _flown(Path(out), run.key, weights)

    first = [run_of(arm, 1.0, SEED, one, "", PLAIN) for arm, recipe in recipes.items() for one in of_curators(recipe)]
    distinct: dict[str, Entry] = {}
    costs: dict[str, float] = {}
    for runs, how, weights in ((entries, variant, False), (first, PLAIN, True)):
        missing = [run for run in runs if not flown(run, weights)]
        stages = needed_by(missing, dict.fromkeys(recipes, ""), how, flown=flown)
        costs |= {run.key: estimate(run.recipe)["own_flops"] for run in (*missing, *itertools.chain(*stages))}
        every = needed_by(runs, dict.fromkeys(recipes, ""), how)
        distinct |= {run.key: run for run in (*runs, *itertools.chain(*every))}
    cached = [run for key, run in distinct.items() if key not in costs and flown(run)]
    here = local.workers_here(workers, threads)
    device = torch.device(here.device(0) or "cpu")
    with threads_of(here.threads):
        rate = max(matmul_rate(device, dtype, 512, 0.15) for dtype in (torch.float32, torch.bfloat16))
    if device.type == "cuda":
        rate /= max(1, here.count // max(1, torch.cuda.device_count()))
    later = study.seed_list[study.race.least :] if study.race else ()
    least = {key: cost for key, cost in costs.items() if distinct[key].seed not in later}

    def taken(costs: Mapping[str, float]) -> dict[str, Any]:
        flops, longest = sum(costs.values()), max(costs.values(), default=0.0)
        return {"runs": len(costs), "flops": flops, "seconds": max(longest, flops / here.count) / (rate * UTILISATION)}

    each = {arm: estimate(recipe) for arm, recipe in recipes.items()}
    sizes = _sizes_before(study, out)
    return {
        "name": study.name,
        "arms": {
            arm: {key: each[arm][key] for key in ("flops", "tokens", "steps", "parameters")}
            | {"tokens_per_parameter": each[arm]["own_tokens"] / recipes[arm].block_parameters}
            for arm in recipes
        },
        "seeds": len(study.seed_list),
        "least": {"seeds": study.race.least, **taken(least)} if study.race else None,
        **taken(costs),
        "cached": len(cached),
        "trials": len(study.tune.combinations()) * len(recipes) if study.tune else 0,
        "matmul_rate": rate,
        "utilisation": UTILISATION,
        "workers": here.count,
        "epochs": {arm: _epochs(recipes[arm], each[arm]["tokens"], sizes) for arm in recipes} if sizes else None,
        "notes": study.notes,
    }


def _variant(study: StudyFile, out: Path | None) -> Variant:
    """What the study was begun with in ``out``. If it was not, its variant will be chosen by timing a step, which takes the data: what its
    baseline itself says then stands for it.
    """
    with contextlib.suppress(OSError, ValueError):
        return Variant.model_validate_json((Path(out or "") / "studies" / study.name / VARIANT).read_text(encoding="utf-8"))
    return study.resolved[BASELINE].variant(Variant())


def _counted(study: StudyFile, out: Path | None, base: Recipe, variant: Variant) -> float | None:
    """The FLOPs of the budget of ``base`` if they were counted when the study was flown in ``out``."""
    path = Path(out or "") / "studies" / study.name / BUDGET.format(base.key(0, variant))
    with contextlib.suppress(OSError, ValueError):
        return Budget.model_validate_json(path.read_text(encoding="utf-8")).flops
    return None


def _flown(out: Path, key: str, weights: bool) -> bool:
    folders = (out / "runs").glob(f"{key}-*")
    return any(finished_record(folder) is not None and (has_weights(folder) or not weights) for folder in folders)


def _sizes_before(study: StudyFile, out: Path | None) -> dict[str, int] | None:
    """Training tokens of each source, if the study was begun in ``out`` with the same corpus and tokenizer."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        result = json.loads((Path(out or "") / "studies" / study.name / "result.json").read_text(encoding="utf-8"))
        if data_key(Recipe.model_validate(result["recipes"][BASELINE])) == data_key(study.resolved[BASELINE]):
            return dict(result["stream"]["sizes"]["train"])
    return None


def _epochs(recipe: Recipe, tokens: float, sizes: Mapping[str, int]) -> dict[str, float]:
    """How often each source is gone over, if every phase keeps the mixture it begins with."""
    found, facts = dict.fromkeys(sizes, 0.0), recipe.encoding.reckoned()
    for index, phase in enumerate(recipe.phases):
        mine = {name: size for name, size in sizes.items() if size and (phase.sources is None or name in phase.sources)}
        shares = phase.mixture.weights(mine, Progress.first(phase.batch, phase=index), {})
        whole = sum(shares.values()) or 1.0
        units = tokens * (phase.context / phase.positions(facts))  # what sizes are counted in
        for name, share in shares.items():
            found[name] += units * phase.share * share / whole / sizes[name]
    return found


def summary(check: Mapping[str, Any]) -> Iterable[str]:
    """What :func:`check_study` found, in sentences for the terminal."""
    least = check["least"]
    seeds = f"{least['seeds']} to {check['seeds']}" if least else check["seeds"]
    yield f"study {check['name']}: {len(check['arms']) - 1} arms, {seeds} seeds"
    trials = f", {check['trials']} of them trials of tuning" if check["trials"] else ""
    runs = f"{least['runs']} to {check['runs']}" if least else check["runs"]
    yield f"{runs} runs to fly{trials}" + (f"; {check['cached']} are finished already" if check["cached"] else "")
    if least:
        yield f"at least {least['flops']:.3g} FLOPs, about {duration(least['seconds'])}, if the first look decides every arm; at most:"
    yield (
        f"{check['flops']:.3g} FLOPs, about {duration(check['seconds'])} with {check['workers']} workers "
        f"(at {check['utilisation']:.0%} of {check['matmul_rate']:.3g} FLOPs per second, measured now)"
    )
    seen = {arm: each["tokens_per_parameter"] for arm, each in check["arms"].items()}
    yield f"tokens per parameter of the blocks: {', '.join(f'{arm} {amount:.3g}' for arm, amount in seen.items())}"
    if min(seen.values()) < LEAST:
        few = [arm for arm, amount in seen.items() if amount < LEAST]
        yield (
            f"{', '.join(few)}: less than {LEAST:g} token for every parameter; hardly anything of pre-training can be seen there "
            "(20 are usual: leave out `budget:`, or raise it, or take a smaller model)"
        )
    for arm, epochs in (check["epochs"] or {}).items():
        for source, often in epochs.items():
            if often > 1:
                yield f"{arm} reads {source} {often:.2g} times: runs that repeat data are not comparable with runs that do not"
    yield from check["notes"]
