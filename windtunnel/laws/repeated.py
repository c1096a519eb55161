"""Loss when data is read again: the law of parameters and tokens, in which repeated tokens and excess parameters count for less and less.

Muennighoff et al. 2023 (arXiv:2305.16264). U unique tokens read for D tokens count as U + U r (1 - exp(-(D/U - 1) / r)), r the decay of
repetition; parameters beyond the best number for U tokens count likewise. ``windtunnel law repeated`` prints what :func:`repeated` finds.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from windtunnel.core.errors import UserError
from windtunnel.laws.fitting import LawForm, Variables, fitted
from windtunnel.laws.forecast import DRAWS, LawResult
from windtunnel.laws.power import CHINCHILLA, Fitter
from windtunnel.laws.table import check_count, check_loss, check_ratio, read_table


def predict(laws: np.ndarray, variables: Variables) -> np.ndarray:
    """[problems, points] for laws [problems, (E, A, B, alpha, beta, repeats, excess)]; variables N, D and U."""
    e, a, b, alpha, beta, repeats, excess = (laws[:, [place]] for place in range(7))
    size, tokens, unique = variables["N"], variables["D"], np.minimum(variables["U"], variables["D"])
    best = (alpha * a / (beta * b) * variables["U"] ** beta) ** (1 / alpha)  # the size whose best number of tokens is U
    enough = np.minimum(size, best)
    counted = unique * (1 + repeats * -np.expm1(-(tokens / unique - 1) / repeats))
    useful = enough * (1 + excess * -np.expm1(-(size / enough - 1) / excess))
    return e + a / useful**alpha + b / counted**beta


def _begin(variables: Variables, loss: np.ndarray) -> list[list[float]]:
    """The law without repetition, of all points, with a slow and a fast decay."""
    fitter = Fitter(CHINCHILLA, {"N": variables["N"], "D": variables["D"]}, loss)
    e, a, b, alpha, beta = fitter.laws(fitter.fit())[0]
    plain = [e, a, b, max(alpha, 0.1), max(beta, 0.1)]
    return [[*plain, repeats, excess] for repeats in (5.0, 20.0) for excess in (3.0, 10.0)]


REPEATED = LawForm(
    formula="L = E + A / N'^alpha + B / D'^beta; D' = U (1 + repeats (1 - exp(-(D/U - 1) / repeats))), N' likewise with excess",
    bounds={
        "E": (1e-3, 20),
        "A": (1e-3, 1e9),
        "B": (1e-3, 1e9),
        "alpha": (0.02, 3),
        "beta": (0.02, 3),
        "repeats": (0.1, 1e3),
        "excess": (0.1, 1e3),
    },
    predict=predict,
    begin=_begin,
    delta=1e-3,
)


def repeated(
    path: str | Path,
    *,
    size: str,
    tokens: str,
    unique: str,
    loss: str,
    group: str | None = None,
    where: Mapping[str, str] | None = None,
    hold: Mapping[str, float] | None = None,
    draws: int = DRAWS,
) -> LawResult:
    """The law of the runs in a table.

    Args:
        path: of the table, see :mod:`windtunnel.laws.table`.
        size: column of parameters.
        tokens: column of training tokens, repetitions counted again.
        unique: column of different tokens that there were to read.
        loss: column of the final loss, nats a token.
        group: column of what is drawn together in the bootstrap.
        where: only rows whose cell in a column says this.
        hold: numbers that are known, such as E, A, B, alpha and beta of runs without repetition.
        draws: bootstrap samples.

    Raises:
        UserError: for a table that cannot be read, units that cannot be right, or runs that never read data again.
    """
    table = read_table(Path(path), {"size": size, "tokens": tokens, "unique": unique, "loss": loss}, {"group": group}, where=where)
    check_count(table, "size", 1e3, "parameters")
    check_count(table, "tokens", 1e4, "training tokens")
    check_count(table, "unique", 1e4, "unique tokens")
    check_ratio(table)
    table = check_loss(table)
    runs = table.numbers
    times = runs["tokens"] / runs["unique"]
    if times.max() < 1.5:
        raise UserError(f"{path}: no run reads its data more than {times.max():.3g} times; fly some for 4 and for 16 epochs")
    if times.max() < 4:
        table.warnings.append(f"no run reads its data more than {times.max():.3g} times, where that hardly costs; fly some for 16 epochs")
    variables = {"N": runs["size"], "D": runs["tokens"], "U": runs["unique"]}
    return fitted(REPEATED, variables, runs["loss"], largest="D", groups=table.groups, hold=hold, warnings=table.warnings, draws=draws)
