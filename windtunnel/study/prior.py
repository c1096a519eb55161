"""The noise of a section, from the committed results of its baseline, so that a race need not learn it from its first seeds."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from windtunnel.recipe import Recipe, section
from windtunnel.study import section as committed  # what is shipped of it
from windtunnel.study.result import BASELINE, StudyResult
from windtunnel.study.seeds import KnownNoise

ALIKE = 2.0  # how many times as many tokens for each parameter a run may have seen for its noise to be that of another


def known_noise(results: Iterable[StudyResult], metric: str, tokens_per_parameter: float, source: str) -> KnownNoise | None:
    """The noise of a seed's difference in ``metric``, as runs show it that were flown before.

    Args:
        results: studies whose baseline is the same section; their arms, where they have any, tell more than their baseline.
        metric: the primary number of the study that is to be flown.
        tokens_per_parameter: of its baseline; runs that saw less than half or more than twice as many tell nothing of its noise.
        source: what the runs are of, for the report.

    Returns:
        None where they are too few. Of several corpora and budgets the one with the most seeds speaks.
    """
    from windtunnel.study.statistics.noise import noise_of_differences

    found: list[tuple[int, StudyResult, float]] = []
    for result in results:
        seen = result.baseline.tokens_per_parameter
        for multiple in result.study.curve if result.study.metric == metric and seen else ():
            if 1 / ALIKE <= (seen or 0.0) * multiple / tokens_per_parameter <= ALIKE:
                found.append((len(values_of(result, BASELINE, multiple)), result, multiple))
    if not found:
        return None
    _, result, multiple = max(found, key=lambda one: one[0])
    others = [values_of(result, arm, 1.0) for arm in result.arms] if multiple == 1 else []
    known = noise_of_differences(values_of(result, BASELINE, multiple), others)
    if known is None:
        return None
    how = f"{known.settings} settings paired with it" if known.settings else "as if pairing helped nothing"
    said = f"{known.seeds} seeds of {source}, {how}"
    return KnownNoise(sd=known.noise.sd, freedom=known.noise.freedom, metric=metric, source=said)


def noise_of_section(name: str | None, recipe: Recipe) -> KnownNoise | None:
    """What the committed results of the section ``name`` say of the noise of a study whose baseline is ``recipe``; None of no section."""
    from windtunnel.train.estimate import estimate

    results = list(committed.results(name).values()) if name in section.ORDER else []
    if not results:
        return None
    exposure = estimate(recipe)["own_tokens"] / recipe.block_parameters
    return known_noise(results, results[0].study.metric, exposure, f"section {name}")


def values_of(result: StudyResult, arm: str, multiple: float) -> dict[int, float]:
    """The primary number of the finished runs of ``arm`` at ``multiple`` budgets, by seed."""
    runs: list[Any] = [run for run in result.runs if (run.arm, run.multiple, run.status) == (arm, multiple, "finished")]
    return {run.seed: value for run in runs if (value := run.test.get(result.study.metric)) is not None}
