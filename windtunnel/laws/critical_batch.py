"""The critical batch size: how many steps a larger batch saves, and how that grows as the loss falls.

McCandlish et al. 2018 (arXiv:1812.06162): to reach a level of loss takes steps = a + b / batch. a is the fewest steps, b the fewest
tokens, and at the batch b / a both are twice that. Over levels b / a = coefficient / L^exponent, which is what ``law trajectory`` holds as
B_star and p. ``windtunnel law critical-batch`` prints what :func:`critical_batch` finds.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from pydantic import Field

from windtunnel.core.errors import UserError
from windtunnel.core.typed import JsonBlock, Number
from windtunnel.laws.fitting import LawForm, Search, Variables
from windtunnel.laws.forecast import DRAWS, Bounds, LawResult, LeftOut, intervals
from windtunnel.laws.power import resamples
from windtunnel.laws.table import check_count, check_loss, read_table

FEWEST = 4  # batch sizes of a level


def predict(laws: np.ndarray, variables: Variables) -> np.ndarray:
    """Steps [problems, points] for laws [problems, (fewest_steps, fewest_tokens)]; variable batch, in tokens."""
    return laws[:, [0]] + laws[:, [1]] / variables["batch"]


HYPERBOLA = LawForm(
    formula="steps = fewest_steps + fewest_tokens / batch",
    bounds={"fewest_steps": (1e-3, 1e12), "fewest_tokens": (1e-3, 1e18)},
    predict=predict,
    begin=lambda variables, steps: [[steps.min() * share, float((steps * variables["batch"]).min())] for share in (0.3, 0.9)],
)


class AtLevel(JsonBlock):
    """One level of loss, or one model brought to its level."""

    level: str = Field(description="as the table calls it")
    loss: Number | None = Field(None, description="that is reached")
    batch: Bounds = Field(description="the critical batch size, in the unit of the table")
    fewest_steps: float = Field(description="with a very large batch")
    fewest_tokens: float = Field(description="with a very small batch, in the unit of the table")
    residual: Number = Field(description="root mean square of the logarithm's residuals")


class CriticalBatchResult(LawResult):
    """Critical batch sizes, and how they grow: batch = coefficient / loss^exponent."""

    levels: list[AtLevel] = Field([], description="in the order of the table")


def critical_batch(
    path: str | Path,
    *,
    batch: str,
    steps: str,
    level: str,
    loss: str | None = None,
    where: Mapping[str, str] | None = None,
    draws: int = DRAWS,
) -> CriticalBatchResult:
    """Critical batch sizes of the levels in a table.

    Args:
        path: of the table, a row for each level and batch size; the rate is to be tuned for each batch.
        batch: column of the batch size, in tokens or sequences.
        steps: column of the steps to the level.
        level: column of the level's name.
        loss: column of the level's loss; without it nothing is said of its growth.
        where: only rows whose cell in a column says this.
        draws: bootstrap samples of the rows of each level.

    Raises:
        UserError: for a table that cannot be read, or a level with fewer than four batch sizes.
    """
    roles = {"batch": batch, "steps": steps} | ({"loss": loss} if loss else {})
    table = read_table(Path(path), roles, {"level": level}, where=where)
    check_count(table, "batch", 1, "a batch size")
    check_count(table, "steps", 1, "steps")
    table = check_loss(table) if loss else table
    names = list(dict.fromkeys(table.words["level"]))
    rows = {name: np.array([word == name for word in table.words["level"]]) for name in names}
    told = list(table.warnings)
    found, samples, errors, left = [], [], [], []
    for name in names:
        batches, taken = table.numbers["batch"][rows[name]], table.numbers["steps"][rows[name]]
        if len(np.unique(batches)) < FEWEST:
            raise UserError(
                f"{path}: level {name} has {len(np.unique(batches))} batch sizes, and a hyperbola needs {FEWEST}; fly more of them"
            )
        search = Search(HYPERBOLA, {"batch": batches}, taken)
        best = search.fit()
        drawn = search.laws(search.fit(resamples(len(taken), draws), best))
        value, error = search.laws(best)[0], search.residuals(best)[0]
        sizes = np.concatenate([[value[1] / value[0]], drawn[:, 1] / drawn[:, 0]])
        if not batches.min() < sizes[0] < batches.max():
            told.append(f"level {name}: {sizes[0]:.3g} lies beyond the batch sizes flown; fly batches on both sides of it")
        reached = float(np.median(table.numbers["loss"][rows[name]])) if loss else None
        band = intervals(["batch"], sizes[:1], sizes[1:, None])["batch"]
        size = float(np.sqrt((error**2).mean()))
        found.append(AtLevel(level=name, loss=reached, batch=band, fewest_steps=value[0], fewest_tokens=value[1], residual=size))
        samples.append(np.log(sizes))
        errors.append(error)
        most = batches < batches.max()
        again = Search(HYPERBOLA, {"batch": batches[most]}, taken[most])
        left.append(float(HYPERBOLA.predict(again.laws(again.fit()), {"batch": batches[~most]})[0, 0] / taken[~most][0] - 1))
    growth, spread, more = _growth(found, np.stack(samples))
    whole = np.concatenate(errors)
    return CriticalBatchResult(
        law="steps = fewest_steps + fewest_tokens / batch; critical batch = coefficient / loss^exponent",
        parameters=growth,
        covariance=spread,
        points=len(whole),
        residual=float(np.sqrt((whole**2).mean())),
        objective=float((whole**2).sum()),
        largest_left_out=LeftOut(
            what="the largest batch of each level",
            points=len(left),
            error=float(np.sqrt(np.mean(np.square(left)))),
            bias=float(np.mean(left)),
        ),
        warnings=told + more,
        levels=found,
    )


def _growth(levels: list[AtLevel], logs: np.ndarray) -> tuple[dict[str, Bounds], dict[str, dict[str, float]], list[str]]:
    """Coefficient and exponent from critical batches ``logs`` [levels, draws], their covariance, and warnings."""
    known = [one.loss for one in levels if one.loss is not None]
    if len({round(loss, 3) for loss in known}) < 3:
        few = "fewer than three levels of loss, so nothing is said of how the critical batch grows; give more levels and their --loss"
        return {}, {}, [few]
    x = -np.log(known)
    centred = x - x.mean()
    exponent = centred @ logs / (centred @ centred)
    coefficient = logs.mean(axis=0) - exponent * x.mean()
    draws = np.stack([coefficient, exponent], axis=1)
    spread = np.cov(draws[1:].T)
    names = ("log coefficient", "exponent")
    draws[:, 0] = np.exp(np.minimum(draws[:, 0], 600))
    covariance = {a: dict(zip(names, map(float, row), strict=True)) for a, row in zip(names, spread, strict=True)}
    return intervals(("coefficient", "exponent"), draws[0], draws[1:]), covariance, []
