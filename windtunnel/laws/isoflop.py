"""The best size at each budget of compute, and how it grows: parabolas over runs of equal FLOPs.

Approach 2 of Hoffmann et al. 2022 (arXiv:2203.15556). At each budget the loss is a parabola in the logarithm of the size; its lowest point
is the best size, and the tokens there come from the same runs. Over budgets both follow power laws of compute. ``windtunnel law isoflop``
prints what :func:`isoflop` finds.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from windtunnel.core.errors import UserError
from windtunnel.core.typed import JsonBlock
from windtunnel.laws.forecast import DRAWS, Bounds, LawResult, intervals
from windtunnel.laws.table import check_count, check_loss, check_ratio, read_table, scales

if TYPE_CHECKING:
    import pandas

NAMES = ("size_exponent", "size_coefficient", "tokens_exponent", "tokens_coefficient")
FEWEST, BUDGETS = 4, 3  # runs of a budget, budgets


class AtBudget(JsonBlock):
    """Runs of one compute budget."""

    flops: float = Field(description="geometric mean")
    runs: int = Field(description="how many were fitted")
    size: Bounds = Field(description="the best size")
    tokens: Bounds = Field(description="the tokens it is then trained on")
    loss: float = Field(description="the loss there")


class IsoflopResult(LawResult):
    """Best sizes and how they grow with compute: size = size_coefficient C^size_exponent, and the same for tokens."""

    budgets: list[AtBudget] = Field([], description="ascending")

    def by_budget(self) -> pandas.DataFrame:
        """A row a budget: FLOPs, runs, best size, tokens and loss."""
        import pandas

        rows = [
            {"flops": one.flops, "runs": one.runs, "size": one.size.value, "tokens": one.tokens.value, "loss": one.loss}
            for one in self.budgets
        ]
        return pandas.DataFrame(rows)


def isoflop(
    path: str | Path, *, flops: str, size: str, tokens: str, loss: str, where: Mapping[str, str] | None = None, draws: int = DRAWS
) -> IsoflopResult:
    """How the best size and tokens grow with compute, from a table of runs.

    Args:
        path: of the table, see :mod:`windtunnel.laws.table`.
        flops: column of training FLOPs; runs within 8 percent of the middle of many are one budget.
        size: column of parameters.
        tokens: column of training tokens.
        loss: column of the final loss, nats a token.
        where: only rows whose cell in a column says this.
        draws: bootstrap samples of the runs of each budget.

    Raises:
        UserError: for a table that cannot be read, units that cannot be right, or fewer than three budgets with a lowest point.
    """
    roles = {"flops": flops, "size": size, "tokens": tokens, "loss": loss}
    table = read_table(Path(path), roles, where=where)
    check_count(table, "size", 1e3, "parameters")
    check_count(table, "tokens", 1e4, "training tokens")
    check_count(table, "flops", 1e8, "FLOPs")
    check_ratio(table)
    table = check_loss(table)
    c, n, d, y = (np.log(table.numbers[role]) for role in roles)
    count = float(np.exp(np.median(c - n - d)))
    if not 0.5 < count < 100:
        raise UserError(
            f"{path}: FLOPs are {count:.3g} times size times tokens, and training takes about 6; one of the columns is in another unit"
        )
    told = list(table.warnings)
    budgets, samples, residuals = _by_budget(c, n, d, y, told, draws)
    if len(budgets) < BUDGETS:
        reasons = "; ".join(told)
        raise UserError(f"{len(budgets)} budgets show a best size, and a power law needs {BUDGETS} or more; fly more budgets. {reasons}")
    if len(budgets) == BUDGETS:
        told.append("three budgets alone determine the exponents; fly another")
    drawn = _exponents(np.log([one.flops for one in budgets]), np.stack(samples))
    error = np.concatenate(residuals)
    spread = np.ma.cov(np.ma.masked_invalid(drawn[1:]).T).filled(np.nan)
    return IsoflopResult(
        law="best size = a C^b, best tokens = c C^d",
        parameters=intervals(NAMES, drawn[0], drawn[1:][np.isfinite(drawn[1:]).all(axis=1)]),
        covariance={a: dict(zip(NAMES, map(float, row), strict=True)) for a, row in zip(NAMES, spread, strict=True)},
        points=len(error),
        residual=float(np.sqrt((error**2).mean())),
        objective=float((error**2).sum()),
        warnings=told,
        budgets=budgets,
    )


def _by_budget(
    c: np.ndarray, n: np.ndarray, d: np.ndarray, y: np.ndarray, told: list[str], draws: int
) -> tuple[list[AtBudget], list[np.ndarray], list[np.ndarray]]:
    """Each budget with a lowest point, ascending: what is there, samples of it [(size, tokens), draws], and residuals of its runs.

    ``c``, ``n``, ``d``, ``y``: logarithms of FLOPs, size, tokens and loss. Why a budget is left out is added to ``told``.
    """
    place = scales(c)
    few: list[str] = []
    random = np.random.default_rng(0)
    budgets, samples, residuals = [], [], []
    for number in sorted(set(place), key=lambda number: float(c[place == number].mean())):
        rows = place == number
        flops = float(np.exp(c[rows].mean()))
        if len(np.unique(np.round(n[rows], 2))) < FEWEST:
            few.append(f"{flops:.3g}")
            continue
        drawn = random.multinomial(rows.sum(), np.full(rows.sum(), 1 / rows.sum()), size=draws).astype(float)
        best, lowest, residual = _parabola(n[rows], np.exp(y[rows]), np.concatenate([np.ones((1, rows.sum())), drawn]))
        if not np.isfinite(best[0]) or not n[rows].min() < best[0] < n[rows].max():
            rising = y[rows][n[rows].argmax()] > y[rows][n[rows].argmin()]
            further = f"below {np.exp(n[rows].min()):.3g}" if rising else f"above {np.exp(n[rows].max()):.3g}"
            told.append(f"budget {flops:.3g} has no lowest point between its sizes; fly sizes {further} parameters. Left out")
            continue
        slope, middle = np.polyfit(n[rows], d[rows], 1)
        kept = np.where((best > n[rows].min() - 1) & (best < n[rows].max() + 1), best, np.nan)
        budgets.append(_at_budget(flops, int(rows.sum()), float(lowest), np.stack([kept, middle + slope * kept])))
        samples.append(np.stack([kept, middle + slope * kept]))
        residuals.append(residual)
    if few:
        told.append(f"budgets {', '.join(few)} have runs of too few sizes and are left out; fly {FEWEST} sizes or more of each")
    return budgets, samples, residuals


def _at_budget(flops: float, runs: int, loss: float, samples: np.ndarray) -> AtBudget:
    """``samples``: logarithms of the best size and its tokens [2, draws]; the first of each is the fit's own."""
    low, high = np.exp(np.nanpercentile(samples, [2.5, 97.5], axis=1))
    size, tokens = (Bounds(value=float(v), low=float(a), high=float(b)) for v, a, b in zip(np.exp(samples[:, 0]), low, high, strict=True))
    return AtBudget(flops=flops, runs=runs, size=size, tokens=tokens, loss=loss)


def _parabola(n: np.ndarray, loss: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, float, np.ndarray]:
    """Where each weighted parabola is lowest (nan for one that has no lowest point), the first one's loss there, and its residuals."""
    middle = n.mean()
    design = np.vander(n - middle, 3)
    normal = np.einsum("pi,pj,sp->sij", design, design, weights, optimize=True) + 1e-9 * np.eye(3)
    right = (weights * loss) @ design
    found = np.linalg.solve(normal, right[..., None])[..., 0]
    best = np.where(found[:, 0] > 1e-9, -found[:, 1] / (2 * np.maximum(found[:, 0], 1e-9)), np.nan)
    lowest = float(np.polyval(found[0], best[0])) if np.isfinite(best[0]) else float("nan")
    return best + middle, lowest, np.log(design @ found[0] / loss)


def _exponents(logs: np.ndarray, best: np.ndarray) -> np.ndarray:
    """NAMES for each sample of ``best`` [budgets, (size, tokens), samples], by least squares over the budgets."""
    centred = logs - logs.mean()
    slope = np.einsum("b,bks->sk", centred, best) / (centred @ centred)
    constant = np.exp(best.mean(axis=0).T - slope * logs.mean())
    return np.stack([slope[:, 0], constant[:, 0], slope[:, 1], constant[:, 1]], axis=1)
