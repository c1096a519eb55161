"""Trained models side by side on tasks: multiple-choice questions of the user's, and tasks of lm-evaluation-harness."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from windtunnel.core.errors import UserError
from windtunnel.slots import ByDocument, HeldOut

QUESTIONS = (".jsonl", ".json")  # files of multiple-choice questions end so
ROOM = 2048  # tokens of a question, where a model has no end


class Asked(NamedTuple):
    """What one model says to one metric of a task; ``each`` is that of every question, by its number, where there is one."""

    task: str
    metric: str
    value: float
    error: float | None
    each: dict[int, float]


def refuse_unknown(tasks: Sequence[str]) -> None:
    """Raise UserError for a task that is named twice, or a file that is missing."""
    for place, task in enumerate(tasks):
        if task in tasks[:place]:
            raise UserError(f"--tasks {task}: is named twice")
        if task.endswith(QUESTIONS) and (
            same := [one for one in tasks[:place] if one.endswith(QUESTIONS) and Path(one).stem == Path(task).stem]
        ):
            raise UserError(f"--tasks {task}: would be called {Path(task).stem}, as {same[0]} is; rename one of the two")
        if task.endswith((*QUESTIONS, ".yaml", ".yml")) and not Path(task).expanduser().is_file():
            raise UserError(f"--tasks {task}: no such file; give a JSONL of questions, a task file of lm_eval (.yaml) or a task's name")


def asked_of(model: Any, folder: Path, tasks: Sequence[str], *, context: int, device: Any, precision: Any) -> list[Asked]:
    """What ``model``, whose tokenizer is in ``folder``, says to ``tasks``, one after the other.

    Raises:
        PartError: for a task that cannot be asked, naming it.
    """
    from windtunnel.core import registry
    from windtunnel.kits.text.encoded import without_documents
    from windtunnel.kits.text.tokenizer import describe, load, stored
    from windtunnel.slots import Evaluation, Objective

    facts = describe(load(folder, sentinels=0), sentinels=0)
    stream, objective = without_documents(stored(folder), facts), registry.make(Objective, "next-token")
    place = HeldOut((), None, stream, facts, objective, device, precision, "test", context)
    found: list[Asked] = []
    for task in tasks:
        if task.endswith(QUESTIONS):
            part = registry.make(Evaluation, {"multiple-choice": {"file": task}})
            numbers = part.evaluate(model, place)
            name, error = next(iter(numbers)), numbers[f"{next(iter(numbers))}/standard_error"]
            found.append(Asked(Path(task).stem, part.unit, numbers[name], error, _each(numbers.by_document)))
        else:
            part = registry.make(Evaluation, {"harness": {"tasks": [task]}})
            scores, cut = part.scores(model, place)
            found += [Asked(one.task, one.metric, one.value, one.error, one.each) for one in scores]
            if cut:
                warnings.warn(f"{task}: {cut} requests are longer than the context of {context}; they were cut", stacklevel=2)
    return found


def rows_of(told: Sequence[tuple[str, Sequence[Asked]]], confidence: float) -> list[dict[str, Any]]:
    """A row for each metric and model of ``told``: its ``value`` and ``standard_error``, and its ``difference`` from the first model.

    ``low`` and ``high`` bound the difference at ``confidence``, over questions that both were asked, paired; None with fewer than eight,
    and where the two agree in all of them.
    """
    from windtunnel.study.statistics.bootstrap import over_documents

    rows = []
    for first in told[0][1]:
        for model, every in told:
            one = next((each for each in every if (each.task, each.metric) == (first.task, first.metric)), None)
            if one is None:  # a metric that the harness could not make of this model
                continue
            row = {"task": one.task, "metric": one.metric, "model": model, "value": one.value, "standard_error": one.error}
            row |= {"difference": None, "low": None, "high": None, "questions": len(one.each)}
            if one is not first:
                both = sorted(one.each.keys() & first.each.keys())
                found = over_documents([_by_question(one, both)], [_by_question(first, both)], confidence) if both else None
                row |= {"difference": one.value - first.value, "low": found.low if found else None, "high": found.high if found else None}
            rows.append(row)
    return rows


def _each(found: ByDocument) -> dict[int, float]:
    return dict(zip(found.unit.tolist(), (found.above / found.below).tolist(), strict=True))


def _by_question(one: Asked, numbers: Sequence[int]) -> ByDocument:
    return ByDocument(np.array(numbers, np.int64), np.array([one.each[number] for number in numbers]), np.ones(len(numbers)))
