"""Which of two strategies a model follows: it knows the tasks of training by heart, or it learns each task anew from what it is shown.

Wurgaft et al. 2025 (arXiv:2506.17859): training weighs the two as Bayes' rule would. By heart is the better prediction, by a gap of nats,
and the longer description, which grows with the number of tasks; evidence grows more slowly than steps. What a model predicts is the mean
of both, in which the one by heart has the weight

    1 / (1 + exp(-(gain step^rate gap - price tasks^growth)))

The evaluation ``icl-strategy`` measures weights and gaps. How far the law carries is told by the half of the grid of tasks and steps that
it was not fitted to, as the squares of a chessboard. ``windtunnel law strategies`` prints what :func:`strategies` finds.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from pydantic import Field

from windtunnel.core.errors import UserError
from windtunnel.core.typed import JsonBlock, Number
from windtunnel.laws.downstream import check_share
from windtunnel.laws.fitting import LawForm, Search, Variables, fitted
from windtunnel.laws.forecast import DRAWS, LawResult
from windtunnel.laws.table import check_count, read_table

FEWEST = 3  # numbers of tasks, and steps
FAR = 60  # log odds beyond which a weight is 0 or 1
LONG = 700  # logarithm of the largest step that is told, and less that of the smallest


def predict(laws: np.ndarray, variables: Variables) -> np.ndarray:
    """Weights [problems, points] for laws [problems, (gain, rate, price, growth)]; variables step, gap and tasks."""
    gain, rate, price, growth = (laws[:, [place]] for place in range(4))
    odds = gain * variables["step"] ** rate * variables["gap"] - price * variables["tasks"] ** growth
    return 1 / (1 + np.exp(-np.clip(odds, -FAR, FAR)))


def _begin(variables: Variables, weight: np.ndarray) -> list[list[float]]:
    """Both terms as large as ``size`` at the middle of the grid, for several powers."""
    step, gap, tasks = (float(np.exp(np.log(variables[name]).mean())) for name in ("step", "gap", "tasks"))
    return [
        [size / (step**rate * gap), rate, size / tasks**growth, growth]
        for size in (1.0, 4.0)
        for rate in (0.3, 0.8)
        for growth in (0.2, 0.6)
    ]


STRATEGIES = LawForm(
    formula="weight = 1 / (1 + exp(-(gain step^rate gap - price tasks^growth)))",
    bounds={"gain": (1e-9, 1e9), "rate": (0.01, 3), "price": (1e-9, 1e9), "growth": (0.01, 3)},
    predict=predict,
    begin=_begin,
    relative=False,
    delta=0.2,
)


class Crossing(JsonBlock):
    """When training on so many tasks turns from learning anew to knowing by heart."""

    tasks: float
    step: Number | None = Field(None, description="at which the weight passes a half, read between two that were measured; null: at none")
    law: Number = Field(description="the same by the law")


class StrategiesResult(LawResult):
    """The law, what it says of the half of the grid that it was not fitted to, and when models turn."""

    explained: Number = Field(
        description="share of the variance of weights in one half of the grid that the law of the other half predicts"
    )
    against_one: Number = Field(description="its error there over that of the better of two rivals: all by heart, or all learned anew")
    crossings: list[Crossing] = Field([], description="by tasks, ascending")
    crossing_exponent: Number = Field(description="the power of tasks by which these steps grow by the law; above 1 is faster than tasks")


def strategies(
    path: str | Path,
    *,
    step: str,
    tasks: str,
    weight: str,
    gap: str,
    since: float = 1.0,
    group: str | None = None,
    where: Mapping[str, str] | None = None,
    draws: int = DRAWS,
) -> StrategiesResult:
    """The law of strategies in a table, a row a model at a step of its training.

    Args:
        path: of the table.
        step: column of training steps.
        tasks: column of the number of tasks of training.
        weight: column of the weight of what is known by heart in the mixture nearest to the model's predictions, 0 to 1.
        gap: column of the nats by which knowing by heart predicts better.
        since: rows of earlier steps are left out; a model that has learned nothing yet follows neither strategy.
        group: column of what is drawn together in the bootstrap, such as the run.
        where: only rows whose cell in a column says this.
        draws: bootstrap samples.

    Raises:
        UserError: for a table that cannot be read, weights that are no shares, gaps that are not above zero, or fewer than three numbers of
            tasks or steps.
    """
    table = read_table(Path(path), {"step": step, "tasks": tasks, "weight": weight, "gap": gap}, {"group": group}, where=where)
    late = table.numbers["step"] >= since
    if not late.any():
        raise UserError(f"{path}: no row is of step {since:g} or later, the last is {table.numbers['step'].max():g}")
    table = table.kept(late)
    check_share(table, "weight")
    check_count(table, "step", 0, "steps")
    check_count(table, "tasks", 1, "tasks")
    if not (np.isfinite(table.numbers["gap"]) & (table.numbers["gap"] > 0)).all():
        raise UserError(
            f"{path}: {table.at(~(table.numbers['gap'] > 0))}, column {gap!r}: what is known by heart predicts better, by more than 0 nats"
        )
    for role in ("step", "tasks"):
        if len(kinds := np.unique(table.numbers[role])) < FEWEST:
            raise UserError(f"{path}: {len(kinds)} different {role}, and the law needs {FEWEST} or more")
    target = table.numbers["weight"]
    variables = {name: table.numbers[name] for name in ("step", "gap", "tasks")}
    if not 0 < _black(variables).sum() < len(target):
        raise UserError(
            f"{path}: all rows lie on every other square of the grid of tasks and steps; measure each number of tasks at all steps"
        )
    found = fitted(STRATEGIES, variables, target, largest="step", groups=table.groups, warnings=table.warnings, draws=draws)
    explained, against = _other_half(variables, target)
    crossings = _crossings(variables, target, found)
    many, times = np.log([one.tasks for one in crossings]), np.log([float(one.law) for one in crossings])
    exponent = float(np.polyfit(many, times, 1)[0])
    return StrategiesResult(**dict(found), explained=explained, against_one=against, crossings=crossings, crossing_exponent=exponent)


def _black(variables: Variables) -> np.ndarray:
    """Which rows lie on the black squares of the grid of tasks and steps."""
    places = [np.unique(variables[name], return_inverse=True)[1] for name in ("tasks", "step")]
    return np.asarray((places[0] + places[1]) % 2 == 0)


def _other_half(variables: Variables, weight: np.ndarray) -> tuple[float, float]:
    """What the law of the black squares predicts of the white ones: the share of variance, and its error over that of the better rival."""
    black = _black(variables)
    search = Search(STRATEGIES, {name: values[black] for name, values in variables.items()}, weight[black])
    guess = predict(search.laws(search.fit()), {name: values[~black] for name, values in variables.items()})[0]
    left = weight[~black]
    error = float(((guess - left) ** 2).mean())
    rival = min(float((left**2).mean()), float(((1 - left) ** 2).mean()))
    return 1 - error / max(float(left.var()), 1e-12), (error / max(rival, 1e-12)) ** 0.5


def _crossings(variables: Variables, weight: np.ndarray, law: LawResult) -> list[Crossing]:
    """Of each number of tasks, from the means of weights at a step."""
    gain, rate, price, growth = (law.parameters[name].value for name in STRATEGIES.names)
    found = []
    for tasks in np.unique(variables["tasks"]):
        mine = variables["tasks"] == tasks
        steps = np.unique(variables["step"][mine])
        means = np.array([weight[mine & (variables["step"] == one)].mean() for one in steps])
        turns = np.flatnonzero((means[:-1] < 0.5) & (means[1:] >= 0.5))
        at = None
        if len(turns):
            low, high = turns[0], turns[0] + 1
            share = (0.5 - means[low]) / (means[high] - means[low])
            at = float(np.exp(np.log(steps[low]) + share * np.log(steps[high] / steps[low])))
        # A rate near its lower bound asks for a step that no number of this machine can hold.
        by_law = np.log(price * tasks**growth / (gain * variables["gap"][mine].mean())) / rate
        found.append(Crossing(tasks=float(tasks), step=at, law=float(np.exp(np.clip(by_law, -LONG, LONG)))))
    return found
