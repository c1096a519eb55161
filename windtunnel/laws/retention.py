"""How fast what was told in training is forgotten: the share of it that is left, a line in the logarithm of what was read since.

Chang et al. 2024 (arXiv:2406.11813): of what a model gained by being told, the share that is left after t more steps (or tokens) is
level - decay log10 t. So ``decay`` is what is lost with every tenfold, and nothing is left at 10^(level / decay). Kinds of telling, such as
the same words again and other words, are compared by their decays. ``windtunnel law retention`` prints what :func:`retention` finds.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from pydantic import Field

from windtunnel.core.errors import UserError, nearest
from windtunnel.core.typed import JsonBlock, Number
from windtunnel.laws.forecast import DRAWS, Bounds, LawResult, LeftOut, intervals
from windtunnel.laws.table import RunTable, read_table

NAMES = ("level", "decay")
FEWEST = 4  # measurements of a run after the telling


class KindOfTelling(JsonBlock):
    """The runs of one kind."""

    gain: Bounds = Field(description="what was gained by the end of the telling, in the unit of the table")
    level: Bounds = Field(description="share that is left after one more step or token")
    decay: Bounds = Field(description="share that is lost with every tenfold")
    straight: Number = Field(description="share of the variance of the mean curve that a line in the logarithm explains")
    lasts: Number | None = Field(None, description="after how much nothing is left; null where the share does not fall")


class RetentionResult(LawResult):
    """The line of the kind that others are compared with, and of each kind."""

    kinds: dict[str, KindOfTelling] = Field(description="by name")
    gains: dict[str, Bounds] = Field({}, description="of each other kind: its gain over that of the one compared with")
    decays: dict[str, Bounds] = Field({}, description="the same of decays; above 1 is forgotten faster")


def retention(
    path: str | Path,
    *,
    at: str,
    known: str,
    kind: str,
    run: str,
    against: str,
    begins: float,
    ends: float,
    where: Mapping[str, str] | None = None,
    draws: int = DRAWS,
) -> RetentionResult:
    """The lines of a table, a row a measurement of a run.

    Args:
        path: of the table.
        at: column of steps or tokens.
        known: column of what is measured, higher for what is known.
        kind: column of the kind of telling.
        run: column of the run; runs are drawn in the bootstrap.
        against: the kind that others are compared with.
        begins: where telling begins; the last measurement up to there is what was known before.
        ends: where it ends.
        where: only rows whose cell in a column says this.
        draws: bootstrap samples.

    Raises:
        UserError: for a table that cannot be read, a kind that is none, a run with no measurement before or fewer than four after the
            telling, and a kind that gained nothing by it.
    """
    table = read_table(Path(path), {"at": at, "known": known}, {"kind": kind, "run": run}, where=where)
    if not np.isfinite(table.numbers["known"]).all():
        raise UserError(f"{path}: {table.at(~np.isfinite(table.numbers['known']))}, column {known!r}: not a finite number")
    kinds = list(dict.fromkeys(table.words["kind"]))
    if against not in kinds:
        raise UserError(f"{path}: no row has {against!r} in column {kind!r}; {nearest(against, kinds)}")
    curves = {name: _curves(table, name, begins, ends) for name in kinds}
    random = np.random.default_rng(0)
    found, sampled = {}, {}
    for name, (gains, logs, left) in curves.items():
        drawn = random.multinomial(len(gains), np.full(len(gains), 1 / len(gains)), size=draws) / len(gains)
        value, samples = _lines(_even(gains), gains, logs, left)[0], _lines(drawn, gains, logs, left)
        sampled[name] = value, samples
        shares = _shares(_even(gains), gains, left)[0]
        straight = 1 - float((shares - value[1] + value[2] * logs).var() / max(shares.var(), 1e-12))
        lasts = float(10 ** min(value[1] / value[2], 300)) if value[2] > 0 else None
        found[name] = KindOfTelling(**intervals(("gain", *NAMES), value, samples), straight=straight, lasts=lasts)
    mine, (gains, logs, left) = sampled[against], curves[against]
    residual = left - gains[:, None] * (mine[0][1] - mine[0][2] * logs)
    others = {
        name: intervals(("gain", *NAMES), value / mine[0], samples / mine[1])
        for name, (value, samples) in sampled.items()
        if name != against
    }
    few = [f"{name} has {len(curves[name][0])} runs; an interval from so few is too narrow" for name in kinds if len(curves[name][0]) < 5]
    return RetentionResult(
        law="share left = level - decay log10(since)",
        parameters=intervals(NAMES, mine[0][1:], mine[1][:, 1:]),
        points=int(left.size),
        residual=float(np.sqrt((residual**2).mean())),
        objective=float((residual**2).sum()),
        relative=False,
        largest_left_out=_later_half(curves[against]),
        warnings=[*table.warnings, *few],
        kinds=found,
        gains={name: one["gain"] for name, one in others.items()},
        decays={name: one["decay"] for name, one in others.items()},
    )


Curves = tuple[np.ndarray, np.ndarray, np.ndarray]  # gains [runs], log10 of what was read since [points], what is left [runs, points]


def _curves(table: RunTable, kind: str, begins: float, ends: float) -> Curves:
    """The runs of ``kind``. What is left is in the unit of the table, less what was known before."""
    at, known = table.numbers["at"], table.numbers["known"]
    kinds, runs = np.array(table.words["kind"]), np.array(table.words["run"])
    gains, later, left = [], list[np.ndarray](), []
    for run in dict.fromkeys(runs[kinds == kind]):
        mine = np.flatnonzero((runs == run) & (kinds == kind))
        mine = mine[np.argsort(at[mine], kind="stable")]
        before, after = mine[at[mine] <= begins], mine[at[mine] >= ends]
        if not len(before) or len(after) <= FEWEST:
            raise UserError(
                f"{table.path}: run {run} has {len(before)} measurements up to {begins:g} and {len(after)} from {ends:g} on, and the law "
                f"needs one before and {FEWEST + 1} after; measure more often, or correct where telling begins and ends"
            )
        start = known[before[-1]]
        gains.append(known[after[0]] - start)
        since = at[after[1:]] - at[after[0]]
        if not np.isfinite(since).all() or since.min() <= 0 or before[-1] in after:
            raise UserError(
                f"{table.path}: run {run} has two rows at the end of the telling, or one at no number, or telling that ends as it begins; "
                "give each place one row, and correct where telling begins and ends"
            )
        later.append(np.log10(since))
        left.append(known[after[1:]] - start)
    if len({len(one) for one in later}) > 1 or not np.allclose(later, later[0]):
        raise UserError(f"{table.path}: the runs of {kind} were not measured at the same places; measure them alike")
    if np.mean(gains) <= 0:
        raise UserError(f"{table.path}: {kind} gained nothing by being told ({np.mean(gains):.3g}), so there is nothing to forget")
    return np.array(gains), later[0], np.array(left)


def _even(gains: np.ndarray) -> np.ndarray:
    """Every run as much, [1, runs]."""
    return np.full((1, len(gains)), 1 / len(gains))


def _shares(weights: np.ndarray, gains: np.ndarray, left: np.ndarray) -> np.ndarray:
    """The share that is left, the mean over runs by ``weights`` [draws, runs] over their mean gain: [draws, points]."""
    return np.asarray((weights @ left) / (weights @ gains)[:, None])


def _lines(weights: np.ndarray, gains: np.ndarray, logs: np.ndarray, left: np.ndarray) -> np.ndarray:
    """Gain, level and decay of each row of ``weights``: [draws, 3]."""
    shares = _shares(weights, gains, left)
    centred = logs - logs.mean()
    slope = shares @ centred / (centred**2).sum()
    return np.stack([weights @ gains, shares.mean(axis=1) - slope * logs.mean(), -slope], axis=1)


def _later_half(curves: Curves) -> LeftOut:
    """The later half of the measurements, by the line through the earlier half."""
    gains, logs, left = curves
    cut = (len(logs) + 1) // 2
    _, level, decay = _lines(_even(gains), gains, logs[:cut], left[:, :cut])[0]
    error = level - decay * logs[cut:] - _shares(_even(gains), gains, left)[0, cut:]
    what = "the later half of the measurements"
    return LeftOut(what=what, points=len(logs) - cut, error=float(np.sqrt((error**2).mean())), bias=float(error.mean()))
