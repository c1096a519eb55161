"""The loss curve of a learning-rate schedule that was not flown, from curves of schedules that were.

The multi-power law of Luo et al. 2025, "A Multi-Power Law for Loss Curve Prediction Across Learning Rate Schedules" (arXiv:2503.12811):

    L(t) = L0 + A (S + W)^-alpha - B sum over k of (eta_(k-1) - eta_k) (1 - (C eta_k^-gamma S_k + 1)^-beta)

where S sums the rates since the peak, W those of the warm-up and S_k those since step k. The last sum is what annealing gains. Rates are
integrated over the steps of the table. The fit is by Huber loss on the logarithm's residuals; alpha, beta, gamma and C are begun from a
grid on which L0, A and B are linear. ``windtunnel law schedule`` prints what :func:`schedule` finds.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from windtunnel.core.errors import UserError, nearest
from windtunnel.core.typed import JsonBlock, Number
from windtunnel.laws.forecast import Bounds, LawResult, intervals
from windtunnel.laws.power import DELTA
from windtunnel.laws.table import RunTable, check_loss, read_table

if TYPE_CHECKING:
    import pandas

NAMES = ("L0", "A", "B", "C", "alpha", "beta", "gamma")
DRAWS = 60
STARTS = 3  # places of the grid that a fit begins at
POINTS, DROPS = 60, 80  # of a curve that are fitted, and pieces that its fall in rate is gathered in
FEWEST = 10  # points of a curve
GRID = {"C": (0.5, 2.0, 8.0), "alpha": (0.3, 0.5, 0.7), "beta": (0.3, 0.6, 1.0), "gamma": (0.2, 0.5, 0.8)}
LOW = np.array([1e-3, 1e-4, 0.0, 1e-4, 0.02, 0.02, 0.0])
HIGH = np.array([20.0, 1e4, 1e6, 1e4, 3.0, 3.0, 2.0])
BLOCK = 6  # neighbouring points that a bootstrap draws together


class Prediction(JsonBlock):
    """A schedule that took no part in the fit."""

    final: Bounds = Field(description="the loss at its last step, with the interval from the noise of the curves fitted")
    measured: Number | None = Field(None, description="the loss there, where the table has it")
    error: Number | None = Field(None, description="mean absolute relative error along the curve")
    worst: Number | None = Field(None, description="the largest one")
    steps: list[float] = Field([], description="of the table")
    loss: list[float] = Field([], description="predicted at each step")

    def table(self) -> pandas.DataFrame:
        """A row a step: the loss predicted."""
        import pandas

        return pandas.DataFrame({"step": self.steps, "loss": self.loss})


class ScheduleResult(LawResult):
    """A multi-power law and what it predicts."""

    fitted: list[str] = Field([], description="schedules that were fitted")
    predictions: dict[str, Prediction] = Field({}, description="by schedule")


@dataclass(frozen=True)
class Curve:
    """One run: steps, losses, and its rate as the law reads it."""

    name: str
    steps: np.ndarray
    loss: np.ndarray
    total: np.ndarray  # rates summed up to each step, warm-up included
    drop: np.ndarray  # by how much the rate falls in each piece after its peak
    at: np.ndarray  # the total where each fall lies
    rate: np.ndarray  # the rate after each fall

    def features(self, thinned: bool = True) -> np.ndarray:
        """Indices of the points that are fitted."""
        known = np.flatnonzero(np.isfinite(self.loss)) if thinned else np.arange(len(self.steps))
        if not thinned or len(known) <= POINTS:
            return known
        return known[np.unique(np.linspace(0, len(known) - 1, POINTS).round().astype(int))]


def curve(name: str, steps: np.ndarray, rate: np.ndarray, loss: np.ndarray) -> Curve:
    """A run from its logged steps. Before the first, the rate is taken to rise from zero in a straight line, as a warm-up does."""
    peak = int(rate.argmax())
    middle = 0.5 * (rate[1:] + rate[:-1]) * np.diff(steps)
    total = np.concatenate([[0.0], np.cumsum(middle)]) + 0.5 * rate[0] * steps[0]
    drop = np.concatenate([[0.0], -np.diff(rate)])
    drop[: peak + 1] = 0
    centre = np.concatenate([[total[0]], 0.5 * (total[1:] + total[:-1])])
    places = np.flatnonzero(np.abs(drop) > 1e-12 * rate.max())
    pieces = np.array_split(places, min(DROPS, len(places))) if len(places) else []
    falls = np.array([drop[piece].sum() for piece in pieces])
    weight = [np.abs(drop[piece]) / np.abs(drop[piece]).sum() for piece in pieces]
    at = np.array([centre[piece] @ share for piece, share in zip(pieces, weight, strict=True)])
    after = np.array([rate[piece] @ share for piece, share in zip(pieces, weight, strict=True)])
    keep = slice(peak, None)  # the law speaks of what comes after the peak
    return Curve(name, steps[keep], loss[keep], total[keep], falls, at, np.maximum(after, 1e-9 * rate.max()))


def predict(law: np.ndarray, one: Curve, points: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The loss of ``law`` (as NAMES) at ``points`` of a curve, and its derivative in each parameter [points, 7]."""
    base, a, b, c, alpha, beta, gamma = law
    total = one.total if points is None else one.total[points]
    power = total**-alpha
    past = np.maximum(total[:, None] - one.at, 0.0)
    scaled = one.rate**-gamma * past
    inner = 1 + c * scaled
    left = inner**-beta
    gain = (1 - left) @ one.drop
    slope = beta * left / inner * scaled
    return base + a * power - b * gain, np.stack(
        [
            np.ones_like(total),
            power,
            -gain,
            -b * (slope @ one.drop),
            -a * power * np.log(total),
            -b * ((left * np.log(inner)) @ one.drop),
            b * c * (slope @ (one.drop * np.log(one.rate))),
        ],
        axis=1,
    )


def fit(curves: Sequence[Curve], *, begin: np.ndarray | None = None, weights: Sequence[np.ndarray] | None = None) -> np.ndarray:
    """The law of lowest Huber loss over the thinned points of ``curves``, as NAMES; ``weights``: how often each point counts."""
    from scipy import optimize

    points = [one.features() for one in curves]
    target = np.log(np.concatenate([one.loss[rows] for one, rows in zip(curves, points, strict=True)]))
    root = np.sqrt(np.concatenate(weights)) if weights is not None else np.ones_like(target)

    def both(law: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        found = [predict(law, one, rows) for one, rows in zip(curves, points, strict=True)]
        return np.concatenate([value for value, _ in found]), np.concatenate([slope for _, slope in found])

    def residual(law: np.ndarray) -> np.ndarray:
        return root * (np.log(np.maximum(both(law)[0], 1e-6)) - target)

    def jacobian(law: np.ndarray) -> np.ndarray:
        value, slope = both(law)
        return root[:, None] * slope / np.maximum(value, 1e-6)[:, None]

    starts = [begin] if begin is not None else _starts(both, np.exp(target))
    found = [
        optimize.least_squares(
            residual, np.clip(start, LOW * 1.001 + 1e-9, HIGH * 0.999), jac=jacobian, bounds=(LOW, HIGH), loss="huber", f_scale=DELTA,
            x_scale="jac", max_nfev=200,
        )
        for start in starts
    ]  # fmt: skip
    return np.asarray(min(found, key=lambda one: float(one.cost)).x)


def _starts(both: object, loss: np.ndarray) -> list[np.ndarray]:
    """The best places of the grid, with L0, A and B of relative least squares."""
    tried = []
    for place in itertools.product(*GRID.values()):
        law = np.array([1.0, 1.0, 1.0, *place])
        design = both(law)[1][:, :3]  # type: ignore[operator]
        linear = np.linalg.lstsq(design / loss[:, None], np.ones_like(loss), rcond=None)[0]
        law[:3] = np.maximum(linear, [0.1, 1e-3, 1e-3])
        error = np.log(np.maximum(design @ law[:3], 1e-6)) - np.log(loss)
        tried.append((float(np.abs(error).sum()), tuple(law)))
    return [np.array(law) for _, law in sorted(tried)[:STARTS]]


def schedule(
    path: str | Path,
    *,
    run: str,
    step: str,
    rate: str,
    loss: str,
    predict_runs: Sequence[str],
    fit_runs: Sequence[str] = (),
    where: Mapping[str, str] | None = None,
    draws: int = DRAWS,
) -> ScheduleResult:
    """The law of some schedules in a table, and the curves of others.

    Args:
        path: of the table, a row for each logged step of each run. All runs have the same model, data and batch.
        run: column of the schedule's name.
        step: column of the training step.
        rate: column of the learning rate at that step.
        loss: column of the loss there; may be empty for a schedule that is to be predicted.
        predict_runs: schedules to predict; their losses take no part in the fit.
        fit_runs: schedules to fit (default: all others).
        where: only rows whose cell in a column says this, such as one model of several.
        draws: bootstrap samples of blocks of neighbouring points.

    Raises:
        UserError: for a table that cannot be read, several rows of a run at one step, or schedules that cannot tell the law.
    """
    table = read_table(Path(path), {"step": step, "rate": rate, "loss": loss}, {"run": run}, where=where, unknown=("loss",))
    names = list(dict.fromkeys(table.words["run"]))
    for name in (*predict_runs, *fit_runs):
        if name not in names:
            raise UserError(f"{path}: no run {name!r}; {nearest(name, names)}")
    if not predict_runs:
        raise UserError("nothing to predict: name a schedule with --predict")
    chosen = [name for name in (fit_runs or names) if name not in predict_runs]
    if not chosen:
        raise UserError("no schedule is left to fit: every one is to be predicted")
    told = list(table.warnings)
    curves = {name: _curve_of(table, name, name in chosen, told) for name in (*chosen, *predict_runs)}
    flown = [curves[name] for name in chosen]
    told += _doubts(flown, [curves[name] for name in predict_runs])
    law = fit(flown)
    samples = np.stack([fit(flown, begin=law, weights=_blocks(flown, draw)) for draw in range(draws)])
    error = np.concatenate([np.log(predict(law, one, rows)[0] / one.loss[rows]) for one in flown for rows in [one.features()]])
    size = np.abs(error)
    inner = np.minimum(size, DELTA)
    spread = np.cov(samples.T)
    return ScheduleResult(
        law="L(t) = L0 + A (S + W)^-alpha - B sum (eta_(k-1) - eta_k) (1 - (C eta_k^-gamma S_k + 1)^-beta)",
        parameters=intervals(NAMES, law, samples),
        covariance={a: dict(zip(NAMES, map(float, row), strict=True)) for a, row in zip(NAMES, spread, strict=True)},
        points=len(error),
        residual=float(np.sqrt((error**2).mean())),
        objective=float((inner * (size - inner / 2)).sum()),
        warnings=told + _loose(law, samples),
        fitted=chosen,
        predictions={name: _predicted(law, samples, curves[name]) for name in predict_runs},
    )


def _curve_of(table: RunTable, name: str, fitted: bool, told: list[str]) -> Curve:
    """The run ``name``, its rows by step. Raises UserError for rows at one step, rates that are none, or too few points."""
    rows = table.kept(np.array([word == name for word in table.words["run"]]))
    if fitted:
        rows = check_loss(RunTable(rows.path, rows.names, rows.numbers, rows.words, rows.lines, told))
    order = np.argsort(rows.numbers["step"], kind="stable")
    steps, rate, loss = (rows.numbers[role][order] for role in ("step", "rate", "loss"))
    if not np.isfinite(steps).all() or (steps < 0).any() or not np.isfinite(rate).all() or (rate < 0).any() or not rate.max() > 0:
        raise UserError(f"{table.path}: run {name!r}: steps and rates must be positive numbers")
    if (np.diff(steps) == 0).any():
        at = steps[:-1][np.diff(steps) == 0][0]
        raise UserError(f"{table.path}: run {name!r} has several rows at step {at:g}; choose one model with --where COLUMN=VALUE")
    if rate.max() > 10:
        raise UserError(f"{table.path}: run {name!r} has a learning rate of {rate.max():g}; the column must hold the rate itself")
    found = curve(name, steps, rate, loss)
    if len(found.steps) < FEWEST:
        raise UserError(f"{table.path}: run {name!r} has {len(found.steps)} points after its peak rate; log {FEWEST} or more")
    return found


def _doubts(flown: Sequence[Curve], wanted: Sequence[Curve]) -> list[str]:
    """What the schedules flown leave open. Raises UserError where an annealing is asked for and none was flown."""
    told = []
    falling = [one for one in flown if len(one.drop)]
    if not falling and any(len(one.drop) for one in wanted):
        raise UserError("no schedule that was flown lowers its rate, so what annealing gains cannot be told; fly one with a decay")
    if len(flown) == 1:
        told.append(
            f"{flown[0].name} alone: how the loss falls with time and what annealing gains cannot be told apart from one schedule; fly a "
            "constant rate, or a decay of another shape, beside it"
        )
    elif len(falling) == len(flown):
        told.append("every schedule that was flown lowers its rate; fly one at a constant rate, which tells decay and annealing apart")
    reach = max(float(one.total[-1]) for one in flown)
    lowest = min((float(one.rate.min()) for one in falling), default=0.0)
    for one in wanted:
        if one.total[-1] > 1.5 * reach:
            told.append(f"{one.name} sums {one.total[-1] / reach:.1f} times the rates of the longest schedule flown: an extrapolation")
        if len(one.rate) and one.rate.min() < 0.3 * lowest:
            told.append(f"{one.name} ends at a rate of {one.rate.min():.3g}, below the {lowest:.3g} that was flown: an extrapolation")
    return told


def _loose(law: np.ndarray, samples: np.ndarray) -> list[str]:
    """A warning for numbers that stand at a bound or that the curves leave open."""
    low, high = np.percentile(samples, [2.5, 97.5], axis=0)
    told = []
    for place, name in enumerate(NAMES):
        stuck = law[place] <= LOW[place] * 1.01 + 1e-6 or law[place] >= HIGH[place] * 0.99
        if stuck or high[place] > 10 * max(low[place], 1e-9):
            told.append(f"{name} is not identified ({low[place]:.3g} to {high[place]:.3g}); fly decays at other times and depths")
    return told


def _blocks(curves: Sequence[Curve], draw: int) -> list[np.ndarray]:
    """How often each fitted point of each curve is drawn, in blocks of neighbours."""
    random = np.random.default_rng(draw)
    found = []
    for one in curves:
        count = len(one.features())
        blocks = np.arange(count) // BLOCK
        drawn = np.bincount(random.integers(blocks[-1] + 1, size=blocks[-1] + 1), minlength=blocks[-1] + 1)
        found.append(drawn[blocks].astype(float))
    return found


def _predicted(law: np.ndarray, samples: np.ndarray, one: Curve) -> Prediction:
    loss = predict(law, one)[0]
    last = np.array([len(one.steps) - 1])
    ends = np.array([predict(sample, one, last)[0] for sample in samples])
    known = np.isfinite(one.loss)
    error = np.abs(loss[known] / one.loss[known] - 1)
    return Prediction(
        final=intervals(["final"], loss[-1:], ends)["final"],
        measured=float(one.loss[-1]) if known[-1] else None,
        error=float(error.mean()) if known.any() else None,
        worst=float(error.max()) if known.any() else None,
        steps=one.steps.tolist(),
        loss=loss.tolist(),
    )
