"""The learning rate to train at, from a sweep of rates over sizes and tokens: rate = c N^a D^b.

Around its lowest point the loss is a parabola in the logarithm of the rate, and so flat there that the best rate of a grid says little; so
what is fitted is the lowest point of the parabola. (Qwen Team 2024, arXiv:2412.15115, name such laws and print no coefficients.) All cells,
each a size and a number of tokens, share one width of the parabola, and their lowest points lie on the law:

    log loss = m_cell + q (log rate - log c - a log N - b log D)^2

which is linear in m, q, q log c, q a and q b. Runs far above the lowest of their cell are left out: there the loss is no parabola any more.
``windtunnel law best-rate`` prints what :func:`best_rate` finds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import Field

from windtunnel.core.errors import UserError
from windtunnel.core.typed import JsonBlock, Number
from windtunnel.laws.forecast import DRAWS, LawResult, LeftOut, intervals
from windtunnel.laws.table import check_count, check_loss, read_table, scales

NAMES = ("coefficient", "size_exponent", "tokens_exponent", "width")
NEAR = 0.1  # of the lowest loss of a cell: runs further above it are no part of the parabola
FEWEST_RATES, FEWEST_CELLS = 3, 4


class RateCell(JsonBlock):
    """The runs of one size and number of tokens."""

    size: float
    tokens: float
    rates: int = Field(description="that were swept, of which the runs near the lowest were fitted")
    best: float = Field(description="of the grid")
    lowest: Number | None = Field(None, description="lowest point of the cell's own parabola; null where it bends the other way")
    law: float = Field(description="rate by the law")
    inside: bool = Field(description="whether the best of the grid lies between two others")


class RateTransfer(JsonBlock):
    """What the law of the other cells says of the largest one, and what the loss there is by its own parabola."""

    size: float
    tokens: float
    predicted: float = Field(description="rate by the law of the other cells")
    lowest: float = Field(description="rate at the lowest point of the largest cell's own parabola")
    excess: float = Field(description="relative loss at the predicted rate above that at the lowest point")
    excess_of_smallest: float = Field(description="the same at the best rate of the smallest cell: what carrying it over unchanged costs")


class BestRateResult(LawResult):
    """The law of the best rate, and the cells it rests on."""

    cells: list[RateCell] = Field([], description="by size and tokens, ascending")
    transfer: RateTransfer | None = Field(None, description="None where too few cells would be left")


@dataclass(frozen=True)
class _Sweep:
    """Runs near the lowest of their cell, in logarithms; the cells are numbered by size, then tokens."""

    cell: np.ndarray  # [runs]
    rate: np.ndarray
    loss: np.ndarray
    size: np.ndarray  # [cells]
    tokens: np.ndarray

    def of(self, cells: np.ndarray) -> _Sweep:
        """The runs of ``cells`` [cells kept], numbered anew."""
        kept = np.isin(self.cell, cells)
        return _Sweep(np.searchsorted(cells, self.cell[kept]), self.rate[kept], self.loss[kept], self.size[cells], self.tokens[cells])


def best_rate(
    path: str | Path,
    *,
    size: str,
    tokens: str,
    rate: str,
    loss: str,
    where: Mapping[str, str] | None = None,
    draws: int = DRAWS,
) -> BestRateResult:
    """The law of the best learning rate.

    Args:
        path: of the table, a row a run; several rows of one size, number of tokens and rate are seeds.
        size: column of parameters.
        tokens: column of training tokens.
        rate: column of the peak learning rate.
        loss: column of the final loss.
        where: only rows whose cell in a column says this.
        draws: bootstrap samples, of what the law leaves of each run.

    Raises:
        UserError: for a table that cannot be read, cells of fewer than three rates, fewer than four cells, sizes or tokens that do not
            differ or grow in step, and losses that have no lowest point over the rates.
    """
    table = check_loss(read_table(Path(path), {"size": size, "tokens": tokens, "rate": rate, "loss": loss}, where=where))
    for role, what in (("size", "parameters"), ("tokens", "tokens"), ("rate", "rates")):
        check_count(table, role, 0 if role == "rate" else 1, what)
    told = list(table.warnings)
    logs = {role: np.log(values) for role, values in table.numbers.items()}
    sweep, cells = _cells(logs, str(path), told)
    law = _fit(sweep)
    if law[3] <= 0:
        raise UserError(f"{path}: the loss has no lowest point over the rates; sweep rates on both sides of the best one")
    drawn = _resampled(sweep, draws)
    if (lost := float(np.mean(drawn[:, 3] <= 0))) > 0.05:
        told.append(f"in {lost:.0%} of the resamples the loss has no lowest point; sweep more rates, or fly a second seed")
    drawn = drawn[drawn[:, 3] > 0]
    if not len(drawn):
        raise UserError(f"{path}: no resample has a lowest point over the rates; sweep more rates, or fly a second seed")
    residual = sweep.loss - _predicted(sweep, law)
    for number, one in enumerate(cells):
        one.law = float(np.exp(_rate(law, sweep.size[number], sweep.tokens[number])))
    outside = [one for one in cells if not one.inside]
    if outside:
        told.append(f"the best rate lies at an edge of the grid in {len(outside)} of {len(cells)} cells; sweep further there")
    transfer, left = _largest(sweep)
    return BestRateResult(
        law="rate = coefficient N^size_exponent D^tokens_exponent; log loss = m + width (log rate - log best)^2",
        parameters=intervals(NAMES, _plain(law[None])[0], _plain(drawn)),
        covariance=_covariance(drawn),
        points=len(sweep.loss),
        residual=float(np.sqrt((residual**2).mean())),
        objective=float((residual**2).sum()),
        largest_left_out=left,
        warnings=told,
        cells=cells,
        transfer=transfer,
    )


def _cells(logs: Mapping[str, np.ndarray], path: str, told: list[str]) -> tuple[_Sweep, list[RateCell]]:
    """The runs by cell, those near the lowest. Raises UserError where they are too few, or cannot tell size from tokens."""
    places, cell = np.unique(np.stack([_alike(logs["size"]), _alike(logs["tokens"])]), axis=1, return_inverse=True)
    cell, count = cell.reshape(-1), places.shape[1]
    few = [number for number in range(count) if len(set(logs["rate"][cell == number])) < FEWEST_RATES]
    if few:
        n, d = np.exp(places[:, few[0]])
        raise UserError(
            f"{path}: {n:.3g} parameters at {d:.3g} tokens have fewer than {FEWEST_RATES} rates; sweep three or more in every cell"
        )
    if count < FEWEST_CELLS:
        raise UserError(
            f"{path}: {count} pairs of size and tokens, and {FEWEST_CELLS} are needed; fly two sizes, each at two numbers of tokens"
        )
    spread = np.linalg.svd(places - places.mean(axis=1, keepdims=True), compute_uv=False)
    if spread[-1] < 0.1 * spread[0]:
        raise UserError(f"{path}: sizes and tokens do not both differ, or grow in step; fly every size at two numbers of tokens or more")
    kept = np.zeros(len(cell), bool)
    found = []
    for number in range(count):
        mine = cell == number
        rates = np.unique(logs["rate"][mine])
        means = np.array([logs["loss"][mine & (logs["rate"] == one)].mean() for one in rates])
        kept |= mine & np.isin(logs["rate"], rates[means <= means.min() + np.log1p(NEAR)])
        bend, slope, _ = np.polyfit(rates, means, 2)
        best = int(means.argmin())
        n, d = np.exp(places[:, number])
        low = float(np.exp(-slope / (2 * bend))) if bend > 0 else None
        inside = 0 < best < len(rates) - 1
        found.append(RateCell(size=n, tokens=d, rates=len(rates), best=float(np.exp(rates[best])), lowest=low, law=0.0, inside=inside))
    if (~kept).any():
        told.append(f"{(~kept).sum()} runs lie more than {NEAR:.0%} above the lowest of their cell and are no part of the parabola")
    return _Sweep(cell[kept], logs["rate"][kept], logs["loss"][kept], places[0], places[1]), found


def _alike(logs: np.ndarray) -> np.ndarray:
    """The mean of those that are one size, or one number of tokens, in the place of each of ``logs``."""
    number = scales(logs)
    return np.asarray((np.bincount(number, logs) / np.bincount(number))[number])


def _fit(sweep: _Sweep) -> np.ndarray:
    """The law [(log c, a, b, q)] that is nearest to the runs."""
    size, tokens = sweep.size[sweep.cell], sweep.tokens[sweep.cell]
    own = np.eye(len(sweep.size))[sweep.cell]
    middle = sweep.size.mean(), sweep.tokens.mean()
    at = sweep.rate - sweep.rate.mean()
    shared = np.stack([at**2, -2 * at, -2 * at * (size - middle[0]), -2 * at * (tokens - middle[1])], axis=1)
    q, p, pa, pb = np.linalg.lstsq(np.concatenate([own, shared], axis=1), sweep.loss, rcond=None)[0][-4:]
    a, b = pa / q, pb / q
    return np.array([p / q + sweep.rate.mean() - a * middle[0] - b * middle[1], a, b, q])


def _rate(law: np.ndarray, size: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    """Logarithm of the best rate."""
    return np.asarray(law[0] + law[1] * size + law[2] * tokens)


def _predicted(sweep: _Sweep, law: np.ndarray) -> np.ndarray:
    """Log losses by the law, at the level of each cell that fits its runs."""
    bowl = law[3] * (sweep.rate - _rate(law, sweep.size, sweep.tokens)[sweep.cell]) ** 2
    count = np.bincount(sweep.cell)
    level = np.bincount(sweep.cell, sweep.loss - bowl) / count
    return np.asarray(level[sweep.cell] + bowl)


def _resampled(sweep: _Sweep, draws: int) -> np.ndarray:
    """Laws [draws, 4] of runs with new residuals, so that every cell keeps its rates."""
    random = np.random.default_rng(0)
    law = _fit(sweep)
    predicted = _predicted(sweep, law)
    free = max(len(sweep.loss) - len(sweep.size) - 4, 1)
    residual = (sweep.loss - predicted) * np.sqrt(len(sweep.loss) / free)  # what the fit took away
    again = predicted + residual[random.integers(len(residual), size=(draws, len(residual)))]
    return np.array([_fit(_Sweep(sweep.cell, sweep.rate, loss, sweep.size, sweep.tokens)) for loss in again])


def _plain(laws: np.ndarray) -> np.ndarray:
    """With c itself in the place of its logarithm."""
    return np.concatenate([np.exp(np.clip(laws[:, :1], -300, 300)), laws[:, 1:]], axis=1)


def _covariance(drawn: np.ndarray) -> dict[str, dict[str, Number]]:
    labels = [f"log {NAMES[0]}", *NAMES[1:]]
    matrix = np.cov(drawn.T)
    return {one: {other: float(matrix[i, j]) for j, other in enumerate(labels)} for i, one in enumerate(labels)}


def _largest(sweep: _Sweep) -> tuple[RateTransfer | None, LeftOut | None]:
    """The largest cell by size times tokens, predicted from the others; None from too few, or where a side has no lowest point."""
    order = np.argsort(sweep.size + sweep.tokens)
    smallest, largest, others = order[0], order[-1], np.sort(order[:-1])
    if len(others) < FEWEST_CELLS:
        return None, None
    law, lowest, carried = _fit(sweep.of(others)), _bowl(sweep, largest), _bowl(sweep, smallest)
    if law[3] <= 0 or lowest is None or carried is None:
        return None, None
    predicted = float(_rate(law, sweep.size[largest], sweep.tokens[largest]))
    excess, of_smallest = (float(np.expm1(lowest[1] * (one - lowest[0]) ** 2)) for one in (predicted, carried[0]))
    found = RateTransfer(
        size=float(np.exp(sweep.size[largest])),
        tokens=float(np.exp(sweep.tokens[largest])),
        predicted=float(np.exp(predicted)),
        lowest=float(np.exp(lowest[0])),
        excess=excess,
        excess_of_smallest=of_smallest,
    )
    error = float(np.expm1(predicted - lowest[0]))
    what = f"the best rate of {found.size:.4g} parameters at {found.tokens:.4g} tokens"
    return found, LeftOut(what=what, points=1, error=abs(error), bias=error)


def _bowl(sweep: _Sweep, cell: int) -> tuple[float, float] | None:
    """Logarithm of the rate at the lowest point of a cell's own parabola, and its width; None where there is no such point."""
    mine = sweep.cell == cell
    if len(set(sweep.rate[mine])) < FEWEST_RATES:
        return None
    bend, slope, _ = np.polyfit(sweep.rate[mine], sweep.loss[mine], 2)
    return (float(-slope / (2 * bend)), float(bend)) if bend > 0 else None
