"""How many bits of knowledge a parameter holds.

Allen-Zhu and Li 2024 (arXiv:2404.05405): models that have seen made-up facts often enough store about two bits of them a parameter. What a
model stores follows from its loss on the tokens of the facts (the evaluation `stored-bits`), which can be no more than the facts hold.
Over models the law is bits = min(rate N, bits there are), with a rounded corner. ``windtunnel law capacity`` prints what :func:`capacity`
finds.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from windtunnel.core.errors import UserError
from windtunnel.laws.fitting import LawForm, Variables, fitted
from windtunnel.laws.forecast import DRAWS, LawResult
from windtunnel.laws.table import check_count, read_table


def predict(laws: np.ndarray, variables: Variables) -> np.ndarray:
    """[problems, points] for laws [problems, (bits_per_parameter, corner)]; variables N and most, the bits that there are."""
    rate, corner = laws[:, [0]], laws[:, [1]]
    share = rate * variables["N"] / variables["most"]
    return rate * variables["N"] * np.exp(-np.log1p(np.exp(np.clip(corner * np.log(share), -60, 60))) / corner)


CAPACITY = LawForm(
    formula="bits = ((bits_per_parameter N)^-corner + most^-corner)^(-1 / corner)",
    bounds={"bits_per_parameter": (1e-4, 64), "corner": (0.5, 20)},
    predict=predict,
    begin=lambda variables, bits: [[float(np.max(bits / variables["N"])), corner] for corner in (2.0, 8.0)],
    delta=0.1,
)


def capacity(
    path: str | Path,
    *,
    size: str,
    bits: str,
    most: str,
    group: str | None = None,
    where: Mapping[str, str] | None = None,
    hold: Mapping[str, float] | None = None,
    draws: int = DRAWS,
) -> LawResult:
    """Bits a parameter, from a table of models.

    Args:
        path: of the table, see :mod:`windtunnel.laws.table`.
        size: column of parameters, embeddings counted.
        bits: column of the bits stored, as :func:`windtunnel.kits.text.knowledge.stored_bits` counts them.
        most: column of the bits that the facts hold.
        group: column of what is drawn together in the bootstrap.
        where: only rows whose cell in a column says this.
        hold: numbers that are known.
        draws: bootstrap samples.

    Raises:
        UserError: for a table that cannot be read, more bits than there are, or models of which none is full.
    """
    table = read_table(Path(path), {"size": size, "bits": bits, "most": most}, {"group": group}, where=where)
    check_count(table, "size", 100, "parameters")
    check_count(table, "bits", 0, "bits")
    check_count(table, "most", 1, "bits")
    found = table.numbers
    if (over := found["bits"] > 1.02 * found["most"]).any():
        raise UserError(f"{path}: {table.at(over)}: more bits than there are; check the unit, and that losses are summed over a fact")
    full = found["bits"] < 0.7 * found["most"]
    if not full.any():
        raise UserError(f"{path}: every model holds nearly all the bits there are, so none is full; fly smaller models or more facts")
    if full.sum() < 3:
        table.warnings.append(f"{full.sum()} models are full, and those alone tell the rate; fly smaller models or more facts")
    variables = {"N": found["size"], "most": found["most"]}
    return fitted(CAPACITY, variables, found["bits"], largest="N", groups=table.groups, hold=hold, warnings=table.warnings, draws=draws)
