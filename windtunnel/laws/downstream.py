"""A downstream score from the loss: flat at chance while the loss is high, then a step, then flat at the most that can be had.

score = floor + (ceiling - floor) / (1 + exp(steepness (loss - middle))): the second step of Bhagia et al. 2024 (arXiv:2412.04403). The
loss had best be that of the task's own answers. ``windtunnel law downstream`` prints what :func:`downstream` finds.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from windtunnel.core.errors import UserError
from windtunnel.laws.fitting import LawForm, Variables, fitted
from windtunnel.laws.forecast import DRAWS, LawResult
from windtunnel.laws.table import RunTable, check_loss, read_table


def predict(laws: np.ndarray, variables: Variables) -> np.ndarray:
    """[problems, points] for laws [problems, (floor, ceiling, steepness, middle)]; variable loss."""
    floor, ceiling, steepness, middle = (laws[:, [place]] for place in range(4))
    return floor + (ceiling - floor) / (1 + np.exp(np.clip(steepness * (variables["loss"] - middle), -60, 60)))


def _begin(variables: Variables, score: np.ndarray) -> list[list[float]]:
    loss = variables["loss"]
    spread = float(np.ptp(loss)) or 1.0
    places = (loss.min(), float(np.median(loss)))
    return [
        [float(score.min()), top, k / spread, middle] for top in (min(score.max() * 1.2, 1.0), 1.0) for k in (2.0, 6.0) for middle in places
    ]


SCORE = LawForm(
    formula="score = floor + (ceiling - floor) / (1 + exp(steepness (loss - middle)))",
    bounds={"floor": (0, 1), "ceiling": (0, 1), "steepness": (0.05, 100), "middle": (1e-2, 20)},
    predict=predict,
    begin=_begin,
    relative=False,
)


def downstream(
    path: str | Path,
    *,
    loss: str,
    score: str,
    group: str | None = None,
    where: Mapping[str, str] | None = None,
    hold: Mapping[str, float] | None = None,
    draws: int = DRAWS,
) -> LawResult:
    """The curve of the runs or checkpoints in a table.

    Args:
        path: of the table, see :mod:`windtunnel.laws.table`.
        loss: column of the loss, of the task's answers where it is to be had.
        score: column of the score, a share between 0 and 1.
        group: column of the run, where rows are checkpoints.
        where: only rows whose cell in a column says this.
        hold: numbers that are known, such as the floor of a task with four choices (0.25).
        draws: bootstrap samples.

    Raises:
        UserError: for a table that cannot be read, scores that are no shares, or losses that hardly differ.
    """
    table = read_table(Path(path), {"loss": loss, "score": score}, {"group": group}, where=where)
    table = check_loss(table)
    check_share(table, "score")
    found = table.numbers
    if found["loss"].max() < 1.02 * found["loss"].min():
        raise UserError(
            f"{path}: the losses hardly differ ({found['loss'].min():.4g} to {found['loss'].max():.4g}); fly larger and smaller models"
        )
    if np.corrcoef(found["loss"], found["score"])[0, 1] > -0.3:
        table.warnings.append("the score hardly rises as the loss falls: it may be at chance still; fly larger models")
    # The lowest loss is that of the largest run: left out by its inverse.
    variables = {"loss": found["loss"], "1 / loss": 1 / found["loss"]}
    return fitted(
        SCORE, variables, found["score"], largest="1 / loss", groups=table.groups, hold=hold, warnings=table.warnings, draws=draws
    )


def check_share(table: RunTable, role: str) -> None:
    """Refuse a column of shares that are none, such as percentages. Raises UserError."""
    values = table.numbers[role]
    wrong = ~((values >= 0) & (values <= 1))
    if wrong.any():
        percent = "; percentages must be divided by 100" if np.nanmax(values) > 1 else ""
        raise UserError(f"{table.path}: {table.at(wrong)}, column {table.names[role]!r}: a share lies between 0 and 1{percent}")
