"""Loss along training, for any size, step and batch.

Kaplan et al. 2020 (arXiv:2001.08361) as Su et al. 2024 (arXiv:2403.06563) use it to plan: L = (N_c / N)^a + (S_c / S_min)^s, where
S_min = S / (1 + B_crit / B) is the steps that a very large batch would have needed and B_crit = B_star / L^p grows as the loss falls. L
stands on both sides and is found for every point. It holds for a constant rate after the warm-up: a point within a cosine is not one of
this curve. There is no irreducible term, so it must fail far out. ``windtunnel law trajectory`` prints what :func:`trajectory` finds.

Fitting all six numbers at once is known to go wrong where the table has one batch or few: hold B_star and p, from ``law critical-batch``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from windtunnel.core.errors import UserError
from windtunnel.laws.fitting import LawForm, Variables, fitted
from windtunnel.laws.forecast import DRAWS, LawResult
from windtunnel.laws.table import check_count, check_loss, read_table

NEWTON = 14  # steps to the root, from below, where each one stays below


def predict(laws: np.ndarray, variables: Variables) -> np.ndarray:
    """[problems, points] for laws [problems, (N_c, a, S_c, s, B_star, p)]; variables N, S (steps) and B (tokens of a step)."""
    n_c, a, s_c, s, b_star, p = (laws[:, [place]] for place in range(6))
    floor = np.exp(np.clip(a * np.log(n_c / variables["N"]), -30, 30))
    scale = np.exp(np.clip(s * np.log(s_c / variables["S"]), -30, 30))
    loss = floor + scale
    for _ in range(NEWTON):
        crowd = b_star / (variables["B"] * loss**p)
        value = floor + scale * (1 + crowd) ** s - loss
        slope = -scale * s * (1 + crowd) ** (s - 1) * crowd * p / loss - 1
        loss = loss - value / slope
    return loss


def _begin(variables: Variables, loss: np.ndarray) -> list[list[float]]:
    found = []
    for share in (0.5, 0.8):
        for a in (0.05, 0.15):
            for s in (0.3, 0.8):
                n_c = float(variables["N"].mean() * (share * loss.mean()) ** (1 / a))
                s_c = float(np.median(variables["S"]) * ((1 - share) * loss.mean()) ** (1 / s))
                found.append([n_c, a, s_c, s, float(np.median(variables["B"]) * loss.mean() ** 4), 4.0])
    return found


TRAJECTORY = LawForm(
    formula="L = (N_c / N)^a + (S_c (1 + B_star / (B L^p)) / S)^s",
    bounds={"N_c": (1e3, 1e30), "a": (0.01, 1), "S_c": (1e-6, 1e12), "s": (0.02, 3), "B_star": (1e-3, 1e14), "p": (0.5, 15)},
    predict=predict,
    begin=_begin,
)


def trajectory(
    path: str | Path,
    *,
    size: str,
    step: str,
    batch: str,
    loss: str,
    group: str | None = None,
    where: Mapping[str, str] | None = None,
    hold: Mapping[str, float] | None = None,
    draws: int = DRAWS,
) -> LawResult:
    """The law of curves in a table, a row a logged step after the warm-up.

    Args:
        path: of the table, see :mod:`windtunnel.laws.table`.
        size: column of parameters without embeddings.
        step: column of steps.
        batch: column of tokens of a step.
        loss: column of the loss, nats a token.
        group: column of the run, which is drawn together in the bootstrap.
        where: only rows whose cell in a column says this.
        hold: numbers that are known, such as B_star and p.
        draws: bootstrap samples.

    Raises:
        UserError: for a table that cannot be read, units that cannot be right, one size, or one batch where B_star and p are not held.
    """
    table = read_table(Path(path), {"size": size, "step": step, "batch": batch, "loss": loss}, {"group": group}, where=where)
    check_count(table, "size", 1e3, "parameters")
    check_count(table, "step", 1, "steps")
    check_count(table, "batch", 16, "tokens of a step")
    table = check_loss(table)
    runs = table.numbers
    if len(np.unique(runs["size"])) < 2:
        raise UserError(f"{path}: one size alone says nothing of N_c and a; fly a second and a third")
    if len(np.unique(runs["batch"])) < 3 and not {"B_star", "p"} <= set(hold or ()):
        raise UserError(
            f"{path}: {len(np.unique(runs['batch']))} batch sizes say nothing of B_star and p; fly batches a quarter and four times as "
            "large, or hold both, as `law critical-batch` finds them"
        )
    if group is None:
        table.warnings.append(
            "points of one curve are not independent, so intervals are too narrow; name the column of the run with --group"
        )
    variables = {"N": runs["size"], "S": runs["step"], "B": runs["batch"]}
    return fitted(TRAJECTORY, variables, runs["loss"], largest="N", groups=table.groups, hold=hold, warnings=table.warnings, draws=draws)
