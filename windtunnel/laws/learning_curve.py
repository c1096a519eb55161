"""When to stop adding data: a score against the amount of data, and a bound on what is still to be gained.

Vilares Ferro et al. 2017 (arXiv:2402.02515): after every addition the pattern score = ceiling - drop / units^rate is fitted to all that was
measured so far. Once the ceilings of these fits fall from one addition to the next, they fall to a limit; so the score can never pass the
present ceiling, and what is left to gain is at most the ceiling less what was measured last. The first addition at which that is below a
tolerance is where to stop. The bound holds if the curve is of this family and rises: it bounds the fit's limit and knows nothing of a curve
that bends later. ``windtunnel law learning-curve`` prints what :func:`learning_curve` finds.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from pydantic import Field

from windtunnel.core.errors import UserError
from windtunnel.core.typed import JsonBlock, Number
from windtunnel.laws.fitting import LawForm, Search, Variables, fitted
from windtunnel.laws.forecast import DRAWS, LawResult
from windtunnel.laws.table import check_count, read_table

FIRST = 4  # points of the first fit: three numbers and one to spare


def predict(laws: np.ndarray, variables: Variables) -> np.ndarray:
    """[problems, points] for laws [problems, (ceiling, drop, rate)]; variable units."""
    return laws[:, [0]] - laws[:, [1]] / variables["units"] ** laws[:, [2]]


def _begin(variables: Variables, score: np.ndarray) -> list[list[float]]:
    first, spread = float(variables["units"].min()), float(np.ptp(score)) or 1e-3
    return [
        [float(score.max()) + more * spread, (1 + more) * spread * first**rate, rate] for more in (0.05, 0.5) for rate in (0.2, 0.5, 1.0)
    ]


PATTERN = LawForm(
    formula="score = ceiling - drop / units^rate",
    bounds={"ceiling": (-1e4, 1e4), "drop": (1e-9, 1e12), "rate": (0.01, 3)},
    predict=predict,
    begin=_begin,
    relative=False,
    delta=10.0,
)


class PointOfCurve(JsonBlock):
    """What was known after an addition of data."""

    units: float = Field(description="of data")
    score: float = Field(description="that was measured there")
    ceiling: Number = Field(description="of the pattern fitted to all points up to here")
    left: Number | None = Field(None, description="the most that is still to be gained; None while ceilings do not fall yet")


class LearningCurveResult(LawResult):
    """The pattern of all points, the trace of fits, and where it would have been right to stop."""

    additions: list[PointOfCurve] = Field([], description="ascending in units")
    stop_at: float | None = Field(None, description="units at which no more than the tolerance was left to gain; None where there was none")
    tolerance: float = Field(description="of what is left, in the unit of the score")
    passed: Number | None = Field(
        None, description="the most by which a score passed a ceiling that stood before it; 0 where every bound held, None where none stood"
    )
    against_last: Number | None = Field(
        None, description="error of the largest amount, predicted from the others, over that of repeating the score before it"
    )


def learning_curve(
    path: str | Path,
    *,
    units: str,
    score: str,
    tolerance: float,
    better: str = "higher",
    where: Mapping[str, str] | None = None,
    draws: int = DRAWS,
) -> LearningCurveResult:
    """The trace of a learning curve in a table.

    Args:
        path: of the table, a row an amount of data (several of one amount are averaged).
        units: column of the amount.
        score: column of the score.
        tolerance: stop where no more than this is left to gain, in the unit of the score.
        better: "higher", or "lower" for a loss, which is turned over.
        where: only rows whose cell in a column says this.
        draws: bootstrap samples.

    Raises:
        UserError: for a table that cannot be read, fewer than five amounts, or a score that gets worse.
    """
    if better not in ("higher", "lower"):
        raise UserError(f"better is {better!r}; it is higher or lower")
    table = read_table(Path(path), {"units": units, "score": score}, where=where)
    check_count(table, "units", 0, "units")
    if not (finite := np.isfinite(table.numbers["score"])).all():
        raise UserError(f"{path}: {table.at(~finite)}, column {score!r}: not a finite number; fly those again")
    sign = 1.0 if better == "higher" else -1.0
    at = np.unique(table.numbers["units"])
    mean = sign * np.array([table.numbers["score"][table.numbers["units"] == one].mean() for one in at])
    if len(at) <= FIRST:
        raise UserError(f"{path}: {len(at)} amounts of data, and the pattern needs {FIRST + 1} or more; measure at {2 * at[-1]:g} units")
    if mean[-1] <= mean[0]:
        raise UserError(f"{path}: the score does not get better with data; check the column and --better")
    told = list(table.warnings)
    if (np.diff(mean) < 0).any():
        told.append("the curve is not monotone, and the bound supposes that it is: measure the amounts where it falls again")
    found = fitted(PATTERN, {"units": at}, mean, largest="units", warnings=told, draws=draws)
    trace = [_addition(at[:count], mean[:count], sign) for count in range(FIRST, len(at) + 1)]
    before = np.inf
    falling = False
    for one in trace:
        ceiling = sign * one.ceiling
        falling = ceiling < before
        before = ceiling
        if falling and one is not trace[0]:
            one.left = max(ceiling - sign * one.score, 0.0)
    more: list[str] = []
    stop = next((one.units for one in trace if one.left is not None and one.left <= tolerance), None)
    if stop is None:
        more.append(f"more than {tolerance:g} may still be gained after {at[-1]:g} units; go on to {2 * at[-1]:g}")
    if sign < 0:
        bounds = found.parameters["ceiling"]
        found.parameters["ceiling"] = type(bounds)(value=-bounds.value, low=-bounds.high, high=-bounds.low)
    bounds_stood = [place for place, one in enumerate(trace) if one.left is not None and one is not trace[-1]]
    passed = [sign * (one.score - trace[place].ceiling) for place in bounds_stood for one in trace[place + 1 :]]
    step = abs(float(mean[-1] - mean[-2]))
    content = {**dict(found), "warnings": [*found.warnings, *more]}
    return LearningCurveResult(
        **content,
        additions=trace,
        stop_at=stop,
        tolerance=tolerance,
        passed=max(0.0, *passed) if passed else None,
        against_last=found.largest_left_out.error / step if found.largest_left_out and step else None,
    )


def _addition(units: np.ndarray, score: np.ndarray, sign: float) -> PointOfCurve:
    search = Search(PATTERN, {"units": units}, score)
    ceiling = float(search.laws(search.fit())[0, 0])
    return PointOfCurve(units=float(units[-1]), score=sign * float(score[-1]), ceiling=sign * ceiling)
