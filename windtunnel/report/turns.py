"""Where loss against sparsity turns, as the report says it."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from windtunnel.core.errors import UserError
from windtunnel.laws.knee import knees
from windtunnel.report.reading import Reading
from windtunnel.report.words import finite
from windtunnel.study.result import Run, StudyResult


def turns(reading: Reading) -> dict[tuple[str, str], dict[str, Any]]:
    """What :func:`windtunnel.laws.knee.knees` finds, by arm and sweep; empty where no sweep was measured."""
    runs = []
    for run in reading.runs:
        test = tuple((name, value) for name, given in run.test.items() if (value := finite(given)) is not None)
        place = (run.arm, finite(run.multiple) or 1.0, run.seed, run.key)
        if run.finished and test:
            runs.append((*place, test))
    return found(tuple(runs))


@lru_cache(maxsize=2)
def found(runs: tuple[tuple[str, float, int, str, tuple[tuple[str, float], ...]], ...]) -> dict[tuple[str, str], dict[str, Any]]:
    """The knees of ``runs``; a page asks for them three times."""
    named = [
        Run(arm=arm, multiple=multiple, seed=seed, key=key, status="finished", test=dict(test)) for arm, multiple, seed, key, test in runs
    ]
    try:
        return {(arm, name): one for arm, mine in knees(StudyResult(runs=named)).items() for name, one in mine.items()}
    except UserError:
        return {}
