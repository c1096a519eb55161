"""Knowledge of a fact from the number of documents that state it, and from the size of the model.

Kandpal et al. 2023 (arXiv:2211.08411) found accuracy to rise with the logarithm of that number. It can rise from chance to the most there
is and no further, so the law is a step in the logarithm: score = floor + (ceiling - floor) / (1 + exp(-slope (log10 count - log10 middle) -
size_slope (log10 N - their mean))). ``windtunnel law frequency`` prints what :func:`frequency` finds.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from windtunnel.core.errors import UserError
from windtunnel.laws.downstream import check_share
from windtunnel.laws.fitting import LawForm, Variables, fitted
from windtunnel.laws.forecast import DRAWS, LawResult
from windtunnel.laws.table import check_count, read_table


def predict(laws: np.ndarray, variables: Variables) -> np.ndarray:
    """[problems, points] for laws [problems, (floor, ceiling, slope, middle, size_slope)]; variables count and decades of size."""
    floor, ceiling, slope, middle, size_slope = (laws[:, [place]] for place in range(5))
    at = slope * (np.log10(variables["count"]) - np.log10(middle)) + size_slope * variables["decades"]
    return floor + (ceiling - floor) / (1 + np.exp(np.clip(-at, -60, 60)))


def _begin(variables: Variables, score: np.ndarray) -> list[list[float]]:
    middles = np.exp(np.quantile(np.log(variables["count"]), [0.5, 0.9]))
    return [[float(score.min()), top, slope, float(m), 0.5] for top in (float(score.max()), 1.0) for slope in (1.0, 4.0) for m in middles]


FREQUENCY = LawForm(
    formula="score = floor + (ceiling - floor) / (1 + exp(-slope log10(count / middle) - size_slope decades of N))",
    bounds={"floor": (0, 1), "ceiling": (0, 1), "slope": (0.01, 50), "middle": (1e-3, 1e15), "size_slope": (-20, 20)},
    predict=predict,
    begin=_begin,
    relative=False,
    delta=0.1,
)


def frequency(
    path: str | Path,
    *,
    count: str,
    score: str,
    size: str | None = None,
    group: str | None = None,
    where: Mapping[str, str] | None = None,
    hold: Mapping[str, float] | None = None,
    draws: int = DRAWS,
) -> LawResult:
    """The law of facts, or of bins of facts, in a table.

    Args:
        path: of the table, a row a fact or a bin of facts (and a model).
        count: column of the documents that state the fact; zero counts as a half.
        score: column of the share answered right.
        size: column of parameters, where there are several models.
        group: column of what is drawn together in the bootstrap, such as the fact.
        where: only rows whose cell in a column says this.
        hold: numbers that are known, such as the floor.
        draws: bootstrap samples.

    Raises:
        UserError: for a table that cannot be read, scores that are no shares, or counts that hardly differ.
    """
    table = read_table(Path(path), {"count": count, "score": score} | ({"size": size} if size else {}), {"group": group}, where=where)
    check_share(table, "score")
    seen = table.numbers["count"]
    if not (np.isfinite(seen) & (seen >= 0)).all():
        raise UserError(f"{path}: {table.at(~(seen >= 0))}, column {count!r}: a count is not below zero")
    seen = np.maximum(seen, 0.5)
    if seen.max() < 10 * seen.min():
        raise UserError(f"{path}: counts differ by a factor of {seen.max() / seen.min():.3g}; ask about facts ten times as frequent")
    fixed = dict(hold or {})
    decades = np.zeros(len(seen))
    if size:
        check_count(table, "size", 1e3, "parameters")
        decades = np.log10(table.numbers["size"])
        decades = decades - decades.mean()
    if not size or np.ptp(decades) == 0:
        fixed["size_slope"] = 0.0
    variables = {"count": seen, "decades": decades}
    score_ = table.numbers["score"]
    return fitted(FREQUENCY, variables, score_, largest="count", groups=table.groups, hold=fixed, warnings=table.warnings, draws=draws)
