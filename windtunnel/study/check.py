"""What flying a study takes, told without flying it: `windtunnel check`."""

from __future__ import annotations

import contextlib
import itertools
import json
import statistics
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from windtunnel.core.keys import Variant
from windtunnel.data.corpus.glance import Glance
from windtunnel.recipe import Budget, Recipe, data_key, needed, run_name
from windtunnel.recipe.section import KEY as SECTION
from windtunnel.slots import Progress
from windtunnel.study.entry import Entry
from windtunnel.study.file import StudyFile
from windtunnel.study.launch import local
from windtunnel.study.look import Survey, look
from windtunnel.study.plan import BUDGET, VARIANT, at_one_budget, needed_by, of_curators, plan, refuse_what_cannot_fly, roughly, run_of
from windtunnel.study.result import BASELINE
from windtunnel.study.tune import with_knobs
from windtunnel.study.visible import noise_before, noise_of, smallest_visible
from windtunnel.train.curation import PLAIN, SEED
from windtunnel.train.pace import fresh, same_pace
from windtunnel.train.prepare import data_now
from windtunnel.train.record import RunRecord, finished_record, has_weights

DRAWING = 0.6  # of what a process takes to start: what drawing the report takes, most of it importing too


def check_study(
    study: StudyFile,
    out: Path | None = None,
    *,
    workers: int | None = None,
    threads: int | None = None,
    device: str | None = None,
    timed: bool = True,
    known: dict[str, Glance] | None = None,
) -> dict[str, Any]:
    """What flying ``study`` takes, without flying it.

    The beginning of every source is read, and real steps of every recipe are timed on it, on the first ``device``. With ``timed`` False
    neither is done: FLOPs and steps are then reckoned from sizes, and what would have been seen is None. ``known`` sources are not read
    again.

    Returns:
        ``runs``, ``flops``, ``cpu_seconds`` and ``seconds`` (estimated, with ``workers`` at once) of what is still to be flown;
        ``preparing``, the CPU seconds in it that do not train; ``by_seed``, the seconds that one worker takes for the runs of a seed;
        ``cached`` runs that ``out`` already holds, ``changed`` ones that it holds of sources as they were before, and ``learned``, by
        how much the first took more CPU seconds than was estimated (None where there are none); ``trials`` of tuning; by arm ``flops``,
        ``tokens``, ``steps``, ``parameters``, ``tokens_per_parameter`` and
        ``memory_bytes`` of one run. ``epochs`` by arm and source, ``sources`` by name; ``visible``, the share of the baseline's value
        that would be seen, where the noise is known. Of a race these are the most it may take; ``least`` holds ``seeds``, ``runs``,
        ``flops`` and ``seconds`` of its first look, else None.

    Raises:
        UserError: for what cannot be flown, and for a source that cannot be read.
    """
    from windtunnel.train.estimate import estimate

    variant, here = _variant(study, out), local.workers_here(workers, threads, device)
    seen: Survey | None = None
    if timed:
        trials = _trials(study, roughly(study, variant), variant)
        seen = _look([*study.resolved.values(), *(run.recipe for run in trials)], variant, here, known)

    def budget(base: Recipe) -> float:
        return _counted(study, out, base, variant) or (seen.budget(base) if seen else estimate(base)["own_flops"])

    recipes = at_one_budget(study.resolved, budget)
    # What tuning chose stands in the result. Before that it is not known: runs are costed as the file has them, and none counts as flown.
    chosen = _chosen(study, out)
    settled = {arm: with_knobs(recipe, chosen[arm]) if arm in chosen else recipe for arm, recipe in recipes.items()}
    entries = plan(study, settled, dict.fromkeys(recipes, ""), variant)
    refuse_what_cannot_fly(entries)
    trials = _trials(study, recipes, variant)
    stages, cached, changed = _missing(recipes, trials, entries, variant, out, None if study.tune is None else chosen)
    missing = [run for stage in stages for run in stage]
    each = {arm: estimate(recipe) for arm, recipe in recipes.items()}
    factor, finished = _learned(cached, seen)
    seconds = {run.key: factor * seen.trip(run.recipe).seconds for run in missing} if seen else {}
    reading = seen.preparing * (not cached) if seen else 0.0
    before = ((1 + DRAWING) * seen.starting + reading) if seen else 0.0

    def taken(runs: list[Entry]) -> dict[str, Any]:
        flops = sum(estimate(run.recipe)["own_flops"] for run in runs)
        if not seen or not runs:
            return {"runs": len(runs), "flops": flops, "cpu_seconds": 0.0 if seen else None, "seconds": 0.0 if seen else None}
        own, keys = [seconds[run.key] for run in runs], {run.key for run in runs}
        counts = [count for stage in stages if (count := sum(run.key in keys for run in stage))]  # each stage hires its own workers
        hired = sum(min(here.count, count) for count in counts)
        return {
            "runs": len(runs),
            "flops": flops,
            "cpu_seconds": before + seen.starting * hired + sum(own),
            "seconds": before + seen.starting * len(counts) + max(max(own), sum(own) / here.count) / seen.threads,
        }

    later = study.seed_list[study.race.least :] if study.race else ()
    first = [run for run in missing if run.seed not in later]
    sizes = (None if changed else _sizes_before(study, out)) or (seen.sizes(recipes[BASELINE]) if seen else None)
    arms = {arm: _arm(recipes[arm], each[arm], seen) for arm in recipes}
    return {
        "name": study.name,
        "arms": arms,
        "seeds": len(study.seed_list),
        "least": {"seeds": study.race.least, **taken(first)} if study.race else None,
        **taken(missing),
        "preparing": before if seen else None,
        "reading": reading if seen else None,
        "by_seed": _by_seed(missing, seconds, seen.threads if seen else 1),
        "cached": len(cached),
        "changed": changed,
        "learned": {"runs": finished, "factor": factor} if finished else None,
        "trials": len(study.tune.combinations()) * len(recipes) if study.tune else 0,
        "workers": here.count,
        "epochs": {arm: _epochs(recipes[arm], arms[arm]["tokens"], sizes, seen) for arm in recipes} if sizes else None,
        "sources": seen.sources if seen else None,
        "visible": _visible(study, each[BASELINE]["own_tokens"] / recipes[BASELINE].block_parameters, cached),
        "notes": study.notes,
    }


def check_recipe(recipe: Recipe, *, threads: int | None = None) -> dict[str, Any]:
    """What training ``recipe`` takes, without training it: the beginning of its sources is read, and real steps are timed.

    Returns:
        what :func:`windtunnel.train.estimate.estimate` says, steps and tokens by the steps timed; ``cpu_seconds`` of all, models that it
        needs included; ``tokens_per_parameter``, ``memory_bytes``, ``sources`` by name, and ``notes``.

    Raises:
        UserError: for what cannot be flown, and for a source that cannot be read.
    """
    from windtunnel.train.estimate import estimate

    here = local.workers_here(1, threads)
    seen = _look([recipe], recipe.variant(Variant()), here)
    trips = sum(seen.trip(one).seconds for one in (recipe, *needed(recipe, curators=False).values()))
    reckoned = estimate(recipe)
    about = {**reckoned, **_arm(recipe, reckoned, seen)}
    return {
        **about,
        "cpu_seconds": seen.starting + seen.preparing + trips,
        "sources": seen.sources,
        "notes": recipe.encoding.notes(recipe.sources),
    }


def _look(recipes: list[Recipe], variant: Variant, here: local.Workers, known: dict[str, Glance] | None = None) -> Survey:
    """What is seen of data and steps, on as many threads as a run gets."""
    began = fresh()
    import torch

    from windtunnel.train.machine import threads_of

    with threads_of(here.threads):
        return look(recipes, torch.device(here.device(0) or "cpu"), variant, just_begun=began, known=known)


def _trials(study: StudyFile, recipes: Mapping[str, Recipe], variant: Variant) -> list[Entry]:
    """The runs of tuning."""
    if not study.tune:
        return []
    seed, share = study.tune.seed(study.seed_list), study.tune.share
    settings = study.tune.combinations()
    return [run_of(arm, 1.0, seed, with_knobs(recipe, one, share), "", variant) for arm, recipe in recipes.items() for one in settings]


def _chosen(study: StudyFile, out: Path | None) -> dict[str, dict[str, Any]]:
    """The values that tuning chose, by arm, where the study was flown in ``out`` with the same knobs."""
    tuning = (_flown_before(study, out).get("tuning") or {}) if study.tune else {}
    if not study.tune or tuning.get("knobs") != {knob: list(values) for knob, values in study.tune.knobs.items()}:
        return {}
    return {arm: found["chosen"] for arm, found in tuning["arms"].items() if found["chosen"]}


def _missing(
    recipes: Mapping[str, Recipe],
    trials: list[Entry],
    entries: list[Entry],
    variant: Variant,
    out: Path | None,
    chosen: Collection[str] | None,
) -> tuple[list[list[Entry]], list[tuple[Entry, RunRecord]], int]:
    """The runs that are still to be flown, in stages that follow each other, models that they need first; those that ``out`` holds
    already with their records; and how many of the first it holds of sources that have changed since.

    Of ``entries`` those of arms that are not among the ``chosen`` are still to be flown (None: of none).
    """

    data: dict[str, str | None] = {}
    open_ones = {run.key for run in entries if chosen is not None and run.arm not in chosen} - {run.key for run in trials}

    def record(run: Entry, weights: bool = False) -> RunRecord | None:
        if run.key in open_ones or out is None or not any((out / "runs").glob(f"{run.key}-*")):
            return None
        if (key := data_key(run.recipe)) not in data:
            data[key] = data_now(run.recipe, out / "cache")
        return _flown(out, run.key, weights, data[key])

    def flown(run: Entry, weights: bool = False) -> bool:
        return record(run, weights) is not None

    first = [run_of(arm, 1.0, SEED, one, "", PLAIN) for arm, recipe in recipes.items() for one in of_curators(recipe)]
    distinct: dict[str, Entry] = {}
    missing: set[str] = set()
    stages: list[list[Entry]] = []
    for runs, how, weights in ((first, PLAIN, True), (trials, variant, False), (entries, variant, False)):
        wanted = [run for run in runs if not flown(run, weights)]
        for stage in (*needed_by(wanted, dict.fromkeys(recipes, ""), how, flown=flown), wanted):
            own = {run.key: run for run in stage if run.key not in missing}
            missing |= own.keys()
            stages += [list(own.values())] if own else []
        every = needed_by(runs, dict.fromkeys(recipes, ""), how)
        distinct |= {run.key: run for run in (*runs, *itertools.chain(*every))}
    found = [(run, record(run)) for key, run in distinct.items() if key not in missing]
    before = sum(out is not None and _flown(out, key, False, "") is not None and record(distinct[key]) is None for key in missing)
    return stages, [(run, one) for run, one in found if one is not None], before


def _learned(cached: list[tuple[Entry, RunRecord]], seen: Survey | None) -> tuple[float, int]:
    """How many times the CPU seconds that are estimated of them finished runs took (the median), and how many they are."""
    ratios = []
    for run, record in cached if seen else ():
        expected = seen.trip(run.recipe).seconds if seen else 0.0
        if record.cpu_seconds and expected > 0:
            ratios.append(record.cpu_seconds / expected)
    return (statistics.median(ratios), len(ratios)) if ratios else (1.0, 0)


def _by_seed(missing: Iterable[Entry], seconds: Mapping[str, float], threads: int) -> dict[int, float]:
    found: dict[int, float] = {}
    for run in missing:
        found[run.seed] = found.get(run.seed, 0.0) + seconds.get(run.key, 0.0) / threads
    return found


def _visible(study: StudyFile, tokens_per_parameter: float, cached: list[tuple[Entry, RunRecord]]) -> dict[str, Any] | None:
    """How small a difference would be seen; None where the noise is not known."""
    from windtunnel.study.statistics.compare import adjusted_confidence

    section = study.baseline.get(SECTION)
    noise = noise_of(cached, study.primary) or noise_before(section, study.resolved[BASELINE], tokens_per_parameter)
    if noise is None:
        return None
    share = smallest_visible(noise.share, len(study.seed_list), adjusted_confidence(study.confidence, max(1, len(study.arms))))
    return {"share": share, "section": section, "source": noise.source} if share is not None else None


def _arm(recipe: Recipe, reckoned: Mapping[str, float], seen: Survey | None) -> dict[str, Any]:
    """What one run of an arm is."""
    found = {key: reckoned[key] for key in ("flops", "tokens", "steps", "parameters")}
    found["tokens_per_parameter"] = reckoned["own_tokens"] / recipe.block_parameters
    if seen is None:
        return {**found, "memory_bytes": None}
    one = seen.trip(recipe)
    memory = max(seen.paces[same_pace(recipe, phase)].memory for phase in recipe.phases)
    per_parameter = one.tokens / recipe.block_parameters
    return {**found, "tokens": one.tokens, "steps": one.steps, "tokens_per_parameter": per_parameter, "memory_bytes": memory}


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


def _flown(out: Path, key: str, weights: bool, data: str | None) -> RunRecord | None:
    """The record of a finished run on the stream of fingerprint ``data`` ("": on any, None: on one that is not there)."""
    if data is None:
        return None
    for folder in (out / "runs").glob(run_name(key, data) if data else f"{key}-*"):
        record = finished_record(folder)
        if record is not None and (has_weights(folder) or not weights):
            return record
    return None


def _flown_before(study: StudyFile, out: Path | None) -> dict[str, Any]:
    """What the study came to in ``out``; empty where it was not flown there."""
    with contextlib.suppress(OSError, ValueError):
        return dict(json.loads((Path(out or "") / "studies" / study.name / "result.json").read_text(encoding="utf-8")))
    return {}


def _sizes_before(study: StudyFile, out: Path | None) -> dict[str, int] | None:
    """Training tokens of each source, if the study was begun in ``out`` with the same corpus and tokenizer."""
    result = _flown_before(study, out)
    with contextlib.suppress(ValueError, KeyError, TypeError):
        if data_key(Recipe.model_validate(result["recipes"][BASELINE])) == data_key(study.resolved[BASELINE]):
            return dict(result["stream"]["sizes"]["train"])
    return None


def _epochs(recipe: Recipe, tokens: float, sizes: Mapping[str, int], seen: Survey | None) -> dict[str, float]:
    """How often each source is gone over, if every phase keeps the mixture it begins with."""
    found, facts = dict.fromkeys(sizes, 0.0), (seen and seen.facts) or recipe.encoding.reckoned()
    for index, phase in enumerate(recipe.phases):
        mine = {name: size for name, size in sizes.items() if size and name in recipe.trained_on(phase)}
        shares = phase.mixture.weights(mine, Progress.first(phase.batch, phase=index), {})
        whole = sum(shares.values()) or 1.0
        units = tokens * (phase.context / phase.positions(facts))  # what sizes are counted in
        for name, share in shares.items():
            found[name] += units * phase.share * share / whole / sizes[name]
    return found
