"""Tuning, flown: the trials of every arm, and the recipes with the values that did best on validation."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from windtunnel.core.errors import UserError
from windtunnel.core.typed import Failure
from windtunnel.recipe import Recipe
from windtunnel.study.entry import Entry
from windtunnel.study.file import StudyFile
from windtunnel.study.pilots import Pilots
from windtunnel.study.plan import run_of
from windtunnel.study.tune import best, beyond, with_knobs
from windtunnel.train.record import RunRecord

Tried = list[tuple[dict[str, Any], Entry]]  # values, and the run that tries them


def tuned(study: StudyFile, recipes: Mapping[str, Recipe], pilots: Pilots) -> tuple[dict[str, Recipe], dict[str, Any]]:
    """Fly the trials of every arm of a study that tunes; the recipes with the best values, and the ``tuning`` block of the result.

    Where the best trial of an arm lies at an end of a knob, and the study widens, further values are tried, for the baseline as for any
    arm. An arm of which every trial failed is broken.
    """
    tune = study.tune
    assert tune is not None
    seed = tune.seed(study.seed_list)

    def trial(arm: str, values: dict[str, Any]) -> tuple[dict[str, Any], Entry]:
        recipe = with_knobs(recipes[arm], values, tune.share)
        return values, replace(run_of(arm, 1.0, seed, recipe, pilots.streams[arm].fingerprint, pilots.variant), tried=values)

    def rows_of(arm: str) -> list[dict[str, Any]]:
        return [trial_row(values, entry, pilots.records[entry.folder], study.primary) for values, entry in trials[arm]]

    trials: dict[str, Tried] = {arm: [trial(arm, values) for values in tune.combinations()] for arm in pilots.streams}
    pilots.fly(f"tuning {pilots.study}", [entry for arm in trials.values() for _, entry in arm])
    better = next((record.better for record in pilots.records.values() if record.better), "lower")
    for _ in range(tune.widen):
        further = {}
        for arm in trials:
            with contextlib.suppress(UserError):  # what a knob cannot be is no further value of it
                if (values := beyond(tune.knobs, rows_of(arm), better)) is not None:
                    further[arm] = trial(arm, values)
        if not further:
            break
        for arm, one in further.items():
            trials[arm].append(one)
        pilots.fly(f"tuning {pilots.study}, further", [trials[arm][-1][1] for arm in further])
    chosen, arms = dict(recipes), {}
    for arm, tried in trials.items():
        rows = rows_of(arm)
        found = best(rows, better)
        if found is None:
            first = pilots.records[tried[0][1].folder].failure or Failure(kind="fault", message="unknown reason")
            why = f"every trial of tuning failed; the first: {first.message}"
            pilots.broken[arm] = first.model_copy(update={"message": why, "traceback": first.traceback and f"{why}\n{first.traceback}"})
        else:
            chosen[arm] = with_knobs(recipes[arm], found["values"])
        arms[arm] = {
            "chosen": found["values"] if found else None,
            "trials": rows,
            "flops": sum(row["flops"] or 0.0 for row in rows),
            "seconds": sum(row["seconds"] or 0.0 for row in rows),
        }
    knobs = {knob: list(values) for knob, values in tune.knobs.items()}
    return chosen, {"knobs": knobs, "share": tune.share, "seed": seed, "arms": arms}


def trial_row(values: Mapping[str, Any], entry: Entry, record: RunRecord, primary: str | None) -> dict[str, Any]:
    """One row of the tuning table: what was tried and what came of it on validation, by the number that decides."""
    seen = record.validation
    value = seen[-1].numbers.get(primary or record.primary or "") if record.finished and seen else None
    return {
        "values": dict(values),
        "validation": value if isinstance(value, float) and value == value else None,
        "status": record.status,
        "error": record.error,
        "key": entry.key,
        "flops": record.totals and record.totals.flops,
        "seconds": record.totals and record.totals.seconds,
    }
