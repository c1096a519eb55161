"""The law of the best learning rate: what was planted is found, and sweeps that cannot tell it are refused."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from windtunnel.core.errors import UserError
from windtunnel.laws.best_rate import best_rate

PLANTED = {"size_exponent": -0.4, "tokens_exponent": 0.15, "width": 0.02}
SIZES, TOKENS, RATES = (1e4, 3e4, 1e5), (1e6, 3e6, 9e6), (0.25, 0.5, 1.0, 2.0, 4.0)


def planted(n: float, d: float) -> float:
    return 0.01 * (n / 3e4) ** PLANTED["size_exponent"] * (d / 3e6) ** PLANTED["tokens_exponent"]


def sweep(noise: float = 0.002, **columns: Any) -> list[dict[str, float]]:
    """A run for each size, number of tokens and rate of one grid of rates for all."""
    random = np.random.default_rng(0)
    rows = []
    for n in columns.get("sizes", SIZES):
        for d in columns.get("tokens", TOKENS):
            for multiple in columns.get("rates", RATES):
                rate = 0.012 * multiple
                middle = 2.0 + 5 / n**0.2 + 20 / d**0.25
                loss = middle * np.exp(PLANTED["width"] * np.log(rate / planted(n, d)) ** 2 + noise * random.standard_normal())
                rows.append({"n": n, "d": d, "rate": rate, "loss": loss})
    return rows


def fitted(folder: Path, rows: list[dict[str, float]]) -> Any:
    file = folder / "sweep.csv"
    with file.open("w", newline="") as out:
        writer = csv.DictWriter(out, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return best_rate(file, size="n", tokens="d", rate="rate", loss="loss", draws=200)


def test_a_planted_law_is_found_and_predicts_the_largest_cell(tmp_path: Path) -> None:
    found = fitted(tmp_path, sweep())
    for name, value in PLANTED.items():
        one = found.parameters[name]
        assert abs(one.value - value) < one.high - one.low < 0.1, name
    coefficient = found.parameters["coefficient"].value
    exponents = [found.parameters[name].value for name in ("size_exponent", "tokens_exponent")]
    assert coefficient * 1e5 ** exponents[0] * 9e6 ** exponents[1] == pytest.approx(planted(1e5, 9e6), rel=0.1)
    assert len(found.cells) == 9 and all(one.law == pytest.approx(planted(one.size, one.tokens), rel=0.15) for one in found.cells)
    transfer = found.transfer
    assert transfer is not None and transfer.size == pytest.approx(1e5) and transfer.tokens == pytest.approx(9e6)
    assert transfer.predicted == pytest.approx(planted(1e5, 9e6), rel=0.2) and transfer.excess < 0.003 < transfer.excess_of_smallest


def test_runs_that_nearly_diverged_are_no_part_of_the_parabola(tmp_path: Path) -> None:
    rows = sweep()
    rows += [{**row, "rate": row["rate"] * 4, "loss": 9.0} for row in rows if row["rate"] == max(one["rate"] for one in rows)]
    found = fitted(tmp_path, rows)
    assert found.parameters["size_exponent"].value == pytest.approx(PLANTED["size_exponent"], abs=0.05)
    assert any("runs lie more than 10%" in line for line in found.warnings)


def test_an_edge_of_the_grid_is_said(tmp_path: Path) -> None:
    found = fitted(tmp_path, sweep(rates=(0.05, 0.1, 0.2, 0.4)))
    assert any("at an edge of the grid" in line for line in found.warnings) and not all(one.inside for one in found.cells)


def test_sizes_and_tokens_that_nearly_agree_are_one_cell(tmp_path: Path) -> None:
    rows = [{**row, "d": row["d"] * (1 + 0.004 * (number % 2))} for number, row in enumerate(sweep(sizes=(1e4, 3.005e4, 1e5)))]
    assert len(fitted(tmp_path, rows).cells) == 9


IN_STEP = [row for row in sweep(sizes=(1e4, 3e4, 9e4, 2.7e5), tokens=(2e5, 6e5, 1.8e6, 5.4e6)) if row["d"] == 20 * row["n"]]
REFUSED = {
    "two rates": (sweep(rates=(0.5, 2.0)), "fewer than 3 rates"),
    "three cells": (sweep(sizes=(1e4, 1e5, 1e6), tokens=(1e6,)), "3 pairs of size and tokens, and 4 are needed"),
    "tokens that grow with the size": (IN_STEP, "in step"),
    "no lowest point": ([{**row, "loss": 4.0 - 0.001 * np.log(row["rate"]) ** 2} for row in sweep()], "no lowest point"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_sweeps_that_cannot_tell_are_refused(name: str, tmp_path: Path) -> None:
    rows, message = REFUSED[name]
    with pytest.raises(UserError, match=message):
        fitted(tmp_path, rows)
