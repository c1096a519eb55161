"""Do tasks emerge in the same order in different models? Scores of checkpoints, compared between runs.

Yang et al. 2024 (arXiv:2404.01204) compare curves of checkpoints between models. Here the time of a task in a run is that at which its
score has come half of the way from its first to its best value, and the concordance of runs is Kendall's W of the tasks' times: 1 where
every run learns the tasks in one order, about 1 / runs by chance. Tasks shuffled within each run tell what chance gives.
``windtunnel law dynamics`` prints what :func:`dynamics` finds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from pydantic import Field

from windtunnel.core.errors import UserError
from windtunnel.core.typed import Number
from windtunnel.laws.forecast import LawResult, LeftOut, intervals
from windtunnel.laws.table import read_table

SHUFFLES = 2000
LEAST = 0.02  # how far a score must rise to have a time, in its unit


class DynamicsResult(LawResult):
    """How far runs agree on the order in which tasks are learned."""

    order: list[str] = Field(description="tasks by the mean rank of their time, the earliest first")
    times: dict[str, dict[str, Number | None]] = Field(description="by run and task: where it is half learned; None where it did not rise")
    chance: Number = Field(description="how often tasks shuffled within runs agree as much")
    expected: Number = Field(description="the mean concordance of shuffled tasks")


def dynamics(
    path: str | Path, *, run: str, tokens: str, scores: Sequence[str], where: Mapping[str, str] | None = None, draws: int = 1000
) -> DynamicsResult:
    """The order in which runs learn tasks, from a table of their checkpoints.

    Args:
        path: of the table, a row a checkpoint.
        run: column of the run or model.
        tokens: column of tokens or steps; 0 may be among them.
        scores: columns of scores of which more is better.
        where: only rows whose cell in a column says this.
        draws: bootstrap samples of the runs.

    Raises:
        UserError: for a table that cannot be read, fewer than three runs or tasks, or tasks that do not rise in most runs.
    """
    table = read_table(Path(path), {"tokens": tokens} | {name: name for name in scores}, {"run": run}, where=where, unknown=list(scores))
    names = list(dict.fromkeys(table.words["run"]))
    if len(names) < 3 or len(scores) < 3:
        raise UserError(f"{path}: {len(names)} runs and {len(scores)} tasks; an order of tasks that runs share needs three of each")
    who = np.array(table.words["run"])
    times = np.array(
        [[_half(table.numbers["tokens"][who == name], table.numbers[score][who == name]) for score in scores] for name in names]
    )
    known = np.isfinite(times)
    tasks = known.mean(axis=0) >= 0.7
    told = list(table.warnings)
    if not tasks.all():
        lost = [score for score, keep in zip(scores, tasks, strict=True) if not keep]
        told.append(f"{', '.join(lost)} did not rise by {LEAST:g} in most runs: left out; evaluate larger models, or a continuous score")
    runs = known[:, tasks].all(axis=1)
    if not runs.all():
        told.append(f"{', '.join(n for n, keep in zip(names, runs, strict=True) if not keep)}: some task did not rise; left out")
    kept = times[runs][:, tasks]
    if kept.shape[0] < 3 or kept.shape[1] < 3:
        raise UserError(f"{path}: {kept.shape[0]} runs in which {kept.shape[1]} tasks rise; three of each are needed. " + "; ".join(told))
    ranks = _ranks(kept)
    whole = _concordance(ranks)
    random = np.random.default_rng(0)
    shuffled = np.array([_concordance(random.permuted(ranks, axis=1)) for _ in range(SHUFFLES)])
    drawn = np.array([_concordance(ranks[random.integers(len(ranks), size=len(ranks))]) for _ in range(draws)])
    if (chance := float((shuffled >= whole).mean())) > 0.05:
        told.append(f"tasks shuffled within runs agree as much in {chance:.0%} of trials: no common order is shown")
    told.append("a resample of runs holds some twice, which agree with themselves: the interval's lower end is too high by about 1 / runs")
    # The last run of the table, which had best be the largest, from the mean ranks of the others.
    foretold = ranks[:-1].mean(axis=0)
    missed = float(np.sqrt(np.mean((_ranks(foretold[None])[0] - ranks[-1]) ** 2)))
    labels = [score for score, keep in zip(scores, tasks, strict=True) if keep]
    last = [name for name, keep in zip(names, runs, strict=True) if keep][-1]
    return DynamicsResult(
        law="concordance (Kendall's W) of the times at which tasks are half learned",
        parameters=intervals(["concordance"], np.array([whole]), drawn[:, None]),
        covariance={"concordance": {"concordance": float(drawn.var())}},
        points=len(table),
        residual=float(np.sqrt(ranks.var(axis=0).mean()) / len(labels)),
        objective=1 - whole,
        largest_left_out=LeftOut(what=f"ranks of run {last}", points=len(labels), error=missed / len(labels), bias=0.0),
        warnings=told,
        order=[labels[place] for place in np.argsort(ranks.mean(axis=0))],
        times={
            name: {score: float(value) if np.isfinite(value) else None for score, value in zip(scores, row, strict=True)}
            for name, row in zip(names, times, strict=True)
        },
        chance=chance,
        expected=float(shuffled.mean()),
    )


def _half(tokens: np.ndarray, score: np.ndarray) -> float:
    """The logarithm-free time at which the score, made monotone, is half of the way to its best; nan where it did not rise."""
    kept = np.isfinite(score)
    if kept.sum() < 3:
        return float("nan")
    order = np.argsort(tokens[kept])
    time, value = tokens[kept][order], np.maximum.accumulate(score[kept][order])
    if value[-1] - value[0] < LEAST:
        return float("nan")
    return float(np.interp((value[0] + value[-1]) / 2, value + np.arange(len(value)) * 1e-12, time))


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks within each row, the lowest 1, ties their mean."""
    below = (values[:, None, :] < values[:, :, None]).sum(axis=2)
    same = (values[:, None, :] == values[:, :, None]).sum(axis=2)
    return np.asarray(below + (same + 1) / 2)


def _concordance(ranks: np.ndarray) -> float:
    runs, tasks = ranks.shape
    sums = ranks.sum(axis=0)
    return float(12 * ((sums - sums.mean()) ** 2).sum() / (runs**2 * (tasks**3 - tasks)))
