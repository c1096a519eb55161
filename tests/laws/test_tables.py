"""Best sizes, schedules and the order of arms: planted truths are found, and what cannot be told is refused or said."""

from pathlib import Path

import numpy as np
import pytest

from windtunnel.core.errors import UserError
from windtunnel.laws.isoflop import isoflop
from windtunnel.laws.order import not_monotone, order
from windtunnel.laws.power import CHINCHILLA
from windtunnel.laws.schedule import curve, predict, schedule

LAW = {"E": 1.8, "A": 480.0, "B": 2100.0, "alpha": 0.35, "beta": 0.37}


def written(folder: Path, heading: str, rows: list[list[object]]) -> Path:
    path = folder / "table.csv"
    path.write_text("\n".join([heading, *(",".join(map(str, row)) for row in rows)]) + "\n")
    return path


# The best size ------------------------------------------------------------------------------------------------------------------


def equal_flops(folder: Path, budgets: tuple[float, ...], unit: float = 1.0, around: float = 1.0) -> Path:
    rows: list[list[object]] = []
    random = np.random.default_rng(0)
    for flops in budgets:
        best = (0.35 * 480 / (0.37 * 2100)) ** (1 / 0.72) * (flops / 6) ** (0.37 / 0.72)
        for factor in (0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8):
            size = best * factor * around
            tokens = flops / 6 / size
            loss = CHINCHILLA.predict(LAW, {"N": np.array([size]), "D": np.array([tokens])})[0]
            rows.append([flops * unit * (1 + 0.01 * random.random()), size, tokens, loss * (1 + 0.0005 * random.standard_normal())])
    return written(folder, "flops,size,tokens,loss", rows)


COLUMNS = {"flops": "flops", "size": "size", "tokens": "tokens", "loss": "loss"}


def test_the_best_size_grows_as_planted(tmp_path: Path) -> None:
    found = isoflop(equal_flops(tmp_path, (1e18, 4e18, 1.6e19, 6.4e19)), **COLUMNS, draws=200)
    truth = found.parameters["size_exponent"]
    assert truth.low - 0.01 < 0.37 / 0.72 < truth.high + 0.01 and len(found.budgets) == 4
    assert found.parameters["tokens_exponent"].value == pytest.approx(1 - truth.value, abs=0.01)


def test_budgets_that_show_no_best_size_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="2 budgets show"):
        isoflop(equal_flops(tmp_path, (1e18, 4e18)), **COLUMNS, draws=200)
    with pytest.raises(UserError, match="fly sizes above"):
        isoflop(equal_flops(tmp_path, (1e18, 4e18, 1.6e19), around=0.1), **COLUMNS, draws=200)
    with pytest.raises(UserError, match="another unit"):
        isoflop(equal_flops(tmp_path, (1e18, 4e18, 1.6e19), unit=1e-3), **COLUMNS, draws=200)


# Schedules ----------------------------------------------------------------------------------------------------------------------

MULTI = np.array([2.6, 0.55, 500.0, 2.0, 0.5, 0.5, 0.6])


def flown(names: tuple[str, ...], folder: Path, blank: str = "") -> Path:
    steps = np.arange(500, 8001, 100, dtype=float)
    share = (steps - 500) / 7500
    shapes = {
        "constant": np.ones_like(steps),
        "cosine": 0.1 + 0.45 * (1 + np.cos(np.pi * share)),
        "drop": np.where(share > 0.4, 0.3, 1.0),
        "wsd": np.where(share > 0.8, 1 - 4.5 * (share - 0.8), 1.0),
    }
    rows: list[list[object]] = []
    for number, name in enumerate(names):
        rate = 3e-4 * shapes[name]
        loss = predict(MULTI, curve(name, steps, rate, steps))[0]
        loss = loss * (1 + 5e-4 * np.random.default_rng(number).standard_normal(len(steps)))
        rows += [[name, s, r, "" if name == blank else y] for s, r, y in zip(steps, rate, loss, strict=True)]
    return written(folder, "run,step,rate,loss", rows)


ROLES = {"run": "run", "step": "step", "rate": "rate", "loss": "loss"}


def test_a_schedule_that_was_not_flown_is_predicted(tmp_path: Path) -> None:
    found = schedule(flown(("constant", "cosine", "drop", "wsd"), tmp_path), **ROLES, predict_runs=["wsd"], draws=4)
    wsd = found.predictions["wsd"]
    assert found.fitted == ["constant", "cosine", "drop"] and wsd.error is not None and wsd.error < 0.003
    unflown = schedule(flown(("constant", "cosine", "drop", "wsd"), tmp_path, blank="wsd"), **ROLES, predict_runs=["wsd"], draws=3)
    assert unflown.predictions["wsd"].error is None
    assert unflown.predictions["wsd"].final.value == pytest.approx(wsd.final.value, rel=1e-6), "its losses took no part"


def test_the_slopes_of_the_schedule_law_are_those_of_differences() -> None:
    steps = np.arange(100, 2000, 50, dtype=float)
    one = curve("x", steps, 3e-4 * (1.05 - steps / 2000), steps)
    slopes = predict(MULTI, one)[1]
    for place in range(len(MULTI)):
        step = np.zeros_like(MULTI)
        step[place] = 1e-5 * MULTI[place]
        apart = (predict(MULTI + step, one)[0] - predict(MULTI - step, one)[0]) / (2 * step[place])
        np.testing.assert_allclose(slopes[:, place], apart, rtol=1e-4, atol=1e-10)


def test_what_one_schedule_leaves_open_is_said(tmp_path: Path) -> None:
    path = flown(("constant", "cosine", "wsd"), tmp_path)
    with pytest.raises(UserError, match="fly one with a decay"):
        schedule(path, **ROLES, predict_runs=["wsd"], fit_runs=["constant"], draws=3)
    found = schedule(path, **ROLES, predict_runs=["wsd"], fit_runs=["cosine"], draws=3)
    assert any("cannot be told apart" in warning for warning in found.warnings)
    with pytest.raises(UserError, match="did you mean 'wsd'"):
        schedule(path, **ROLES, predict_runs=["wds"])
    path.write_text(path.read_text() + "cosine,600,0.0003,4.0\n")
    with pytest.raises(UserError, match="several rows at step 600"):
        schedule(path, **ROLES, predict_runs=["wsd"])


# The order of arms --------------------------------------------------------------------------------------------------------------


def arms(folder: Path, gains: dict[str, tuple[float, float]], noise: float = 0.001, seeds: int = 3) -> Path:
    """Arms whose loss differs by (at the largest scale, for each factor of e in compute) from a common curve."""
    random = np.random.default_rng(1)
    rows: list[list[object]] = []
    for name, (level, slope) in gains.items():
        for flops in (1e17, 4e17, 1.6e18):
            x = np.log(flops / 1.6e18)
            mean = (1.8 + 300 / flops**0.15) * np.exp(level + slope * x)
            rows += [[name, flops, mean * np.exp(noise * random.standard_normal())] for _ in range(seeds)]
    return written(folder, "arm,flops,loss", rows)


NAMED = {"arm": "arm", "flops": "flops", "loss": "loss"}


def test_a_clear_lead_is_sure_and_equal_arms_are_not(tmp_path: Path) -> None:
    found = order(arms(tmp_path, {"base": (0, 0), "good": (-0.02, 0), "same": (0, 0)}), **NAMED, target=1.6e19)
    assert found.order[0] == "good" == found.rank_at_one_scale[0] and found.arms["good"].best > 0.95
    same = found.arms["same"].better
    assert same is not None and 0.05 < same < 0.95
    assert found.table().loc["good", "difference"] < -0.01


def test_a_reversal_is_foreseen_and_said(tmp_path: Path) -> None:
    path = arms(tmp_path, {"base": (0, 0), "grows": (0.004, -0.008)}, noise=0.0005)
    found = order(path, **NAMED, target=1.6e20)
    assert found.rank_at_one_scale == ["base", "grows"] and found.order == ["grows", "base"]
    assert any("may reverse" in warning for warning in found.warnings)


def test_a_ladder_that_rises_is_said(tmp_path: Path) -> None:
    path = arms(tmp_path, {"base": (0, 0), "good": (-0.02, 0)})
    assert not any("monotone" in warning for warning in order(path, **NAMED, target=1.6e19).warnings)
    at = np.array([0.0, 1.0, 2.0])
    told = not_monotone(np.log([3.0, 3.0, 3.3, 3.3, 2.5]), np.array([0, 0, 1, 1, 2]), dict(enumerate(at)))
    assert told == ["the ladder is not monotone: results at 2.72 FLOPs are 10.0% worse than at 1; fly that scale again, or leave it out"]


def test_orders_that_cannot_be_told_are_refused(tmp_path: Path) -> None:
    path = arms(tmp_path, {"base": (0, 0), "good": (-0.02, 0)})
    with pytest.raises(UserError, match="below the ladder"):
        order(path, **NAMED, target=1e15)
    apart = path.read_text().replace("good,1e+17", "good,2e+17").replace("good,4e+17", "good,8e+17")
    path.write_text(apart)
    with pytest.raises(UserError, match="1 budgets in common"):
        order(path, **NAMED, target=1e19)
    with pytest.raises(UserError, match="no row has 'bad'"):
        order(path, **NAMED, target=1e19, where={"arm": "bad"})
