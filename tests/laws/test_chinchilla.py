"""The law of loss in parameters and tokens: planted laws are found, the optimum is scipy's, and what cannot be told is said."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import optimize, special

from windtunnel.commands.main import main
from windtunnel.core.errors import UserError
from windtunnel.laws.chinchilla import chinchilla
from windtunnel.laws.power import CHINCHILLA, DELTA, Fitter, resamples

TRUE = {"E": 1.8, "A": 480.0, "B": 2100.0, "alpha": 0.35, "beta": 0.37}
SIZES, RATIOS = (2e7, 6e7, 2e8, 6e8, 2e9), (5, 10, 20, 40, 80)


def ladder(noise: float = 0.003, *, sizes: tuple[float, ...] = SIZES, ratios: tuple[float, ...] = RATIOS) -> dict[str, np.ndarray]:
    size = np.repeat(sizes, len(ratios))
    tokens = size * np.tile(ratios, len(sizes))
    spread = np.random.default_rng(3).standard_normal(len(size))
    return {"N": size, "D": tokens, "loss": CHINCHILLA.predict(TRUE, {"N": size, "D": tokens}) * np.exp(noise * spread)}


def written(folder: Path, columns: dict[str, np.ndarray], separator: str = ",", mark: str = "") -> Path:
    rows = [separator.join(f"{value:.10g}" for value in row) for row in zip(*columns.values(), strict=True)]
    path = folder / "table.csv"
    path.write_text(mark + "\n".join([separator.join(columns), *rows]) + "\n", encoding="utf-8")
    return path


def asked(path: Path, **more: object) -> dict[str, object]:
    return {"path": path, "size": "N", "tokens": "D", "loss": "loss", "draws": 200, **more}


def test_a_planted_law_lies_in_its_intervals(tmp_path: Path) -> None:
    found = chinchilla(**asked(written(tmp_path, ladder())))  # type: ignore[arg-type]
    for name, value in TRUE.items():
        assert found.parameters[name].low < value < found.parameters[name].high, name
    assert found.points == 25 and not found.warnings
    assert found.largest_left_out is not None and found.largest_left_out.error < 0.02
    assert {"value", "low", "high"} == set(found.table().columns)
    exact = chinchilla(**asked(written(tmp_path, ladder(0.0))))  # type: ignore[arg-type]
    assert all(exact.parameters[name].value == pytest.approx(value, rel=1e-3) for name, value in TRUE.items())


def test_the_optimum_is_that_of_scipy() -> None:
    """On resamples too: no beginning of a quasi-Newton method with scipy's own Huber loss finds a lower one."""
    runs = ladder(0.01)
    fitter = Fitter(CHINCHILLA, {"N": runs["N"], "D": runs["D"]}, runs["loss"])
    weights = np.concatenate([np.ones((1, 25)), resamples(25, 3)])
    ours = fitter.fit(weights, begin=fitter.fit(), count=2)
    values = fitter.objective(ours, weights)
    for row, value, mine in zip(weights, values, ours, strict=True):

        def loss(x: np.ndarray, row: np.ndarray = row) -> float:
            return float((row * special.huber(DELTA, fitter.residuals(x[None])[0])).sum()) / DELTA**2

        for begin in (mine, *fitter.begin(row[None], 3)[0]):
            theirs = optimize.minimize(loss, begin, method="L-BFGS-B", bounds=list(zip(fitter.low, fitter.high, strict=True)))
            assert value / DELTA**2 <= theirs.fun * (1 + 1e-7)


def test_points_of_a_group_are_drawn_together() -> None:
    weights = resamples(6, 50, np.array(["a", "a", "b", "b", "c", "c"]))
    assert (weights[:, ::2] == weights[:, 1::2]).all() and (weights.sum(axis=1) == 6).all()


@pytest.mark.parametrize(("separator", "mark"), [(",", ""), ("\t", "\ufeff"), (";", "# runs of May\n")])
def test_json_from_tables_of_several_kinds(tmp_path: Path, capsys: pytest.CaptureFixture[str], separator: str, mark: str) -> None:
    columns = {"model size": (runs := ladder())["N"], "tokens seen": runs["D"], "nats": runs["loss"]}
    path = written(tmp_path, columns, separator, mark)
    main_words = ["--size", "model size", "--tokens", "tokens seen", "--loss", "nats", "--draws", "200", "--json"]
    with pytest.raises(SystemExit) as end:
        main(["law", "chinchilla", str(path), *main_words])
    said = json.loads(capsys.readouterr().out)
    assert end.value.code == 0 and said["points"] == 25 and said["warnings"] == []
    assert {"A", "B", "E", "alpha", "beta"} <= said["parameters"].keys()
    assert all({"value", "low", "high"} == set(one) for one in said["parameters"].values())


def changed(**columns: object) -> dict[str, np.ndarray]:
    return {**ladder(), **{name: np.asarray(values, float) for name, values in columns.items()}}


RUNS = ladder()
REFUSED = {
    "two sizes": (ladder(sizes=(1e8, 1e9)), "2 sizes .*Fly a size"),
    "two token counts": (ladder(sizes=(1e8, 2e8, 4e8, 8e8), ratios=(20,)), "four times their tokens|runs have|too few"),
    "in step": (ladder(sizes=tuple(1e7 * 3**k for k in range(8)), ratios=(20,)), "tokens grow in step"),
    "millions": (changed(N=RUNS["N"] / 1e6), "millions"),
    "billions of tokens": (changed(D=RUNS["D"] / 1e9), "billions"),
    "one row in millions": (changed(N=np.where(np.arange(25) == 3, RUNS["N"] / 1e5, RUNS["N"])), "line 5"),
    "perplexities": (changed(loss=np.exp(RUNS["loss"])), "perplexities"),
    "all diverged": (changed(loss=RUNS["loss"] * np.nan), "every run diverged"),
    "negative": (changed(loss=-RUNS["loss"]), "above zero"),
    "rising": (changed(loss=10 - RUNS["loss"]), "loss rises"),
    "negative size": (changed(N=-RUNS["N"]), "positive"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_told_is_refused(tmp_path: Path, case: str) -> None:
    columns, message = REFUSED[case]
    with pytest.raises(UserError, match=message):
        chinchilla(**asked(written(tmp_path, columns)))  # type: ignore[arg-type]


def test_a_scale_that_diverged_is_named_and_a_kink_is_seen(tmp_path: Path) -> None:
    top = RUNS["N"] == 2e9
    found = chinchilla(**asked(written(tmp_path, changed(loss=np.where(top, np.nan, RUNS["loss"])))))  # type: ignore[arg-type]
    assert found.points == 20 and any("every run of size 2e+09 diverged" in warning for warning in found.warnings)
    bent = np.where(np.arange(25) == 24, 3.4, RUNS["loss"])
    found = chinchilla(**asked(written(tmp_path, changed(loss=bent))))  # type: ignore[arg-type]
    assert any("not monotone" in warning for warning in found.warnings) and any("far off" in warning for warning in found.warnings)


def test_runs_that_do_not_determine_the_law_are_told(tmp_path: Path) -> None:
    close = ladder(0.02, sizes=(1e8, 1.2e8, 1.5e8, 1.8e8), ratios=(18, 20, 23))
    found = chinchilla(**asked(written(tmp_path, close)))  # type: ignore[arg-type]
    assert any("not identified" in warning and "fly" in warning for warning in found.warnings)


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("2,000,000", "cells where the heading"),
        ('"2,000,000"', "thousands"),
        ("2_000", "thousands"),
        ("7B", "unit"),
        ("big", "not a number"),
    ],
)
def test_numbers_with_two_readings_are_refused(tmp_path: Path, cell: str, message: str) -> None:
    path = written(tmp_path, RUNS)
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:3], f"{cell},{lines[3].split(',', 1)[1]}", *lines[4:]]))
    with pytest.raises(UserError, match=f"line 4.*{message}"):
        chinchilla(**asked(path))  # type: ignore[arg-type]


def test_columns_empty_cells_repeats_and_tokenizers(tmp_path: Path) -> None:
    path = written(tmp_path, RUNS)
    with pytest.raises(UserError, match="did you mean 'loss'"):
        chinchilla(**asked(path, loss="los"))  # type: ignore[arg-type]
    text = path.read_text()
    path.write_text(text + text.splitlines()[5] + "\n2e7,,3.1\n\n")
    found = chinchilla(**asked(path))  # type: ignore[arg-type]
    assert found.points == 25 and [w.split(":")[0] for w in found.warnings] == ["line 28", "line 27"]
    path.write_text("\n".join(f"{line},{extra}" for line, extra in zip(text.splitlines(), ["tokenizer", *["a", "b"] * 13], strict=False)))
    with pytest.raises(UserError, match="2 tokenizers"):
        chinchilla(**asked(path))  # type: ignore[arg-type]
