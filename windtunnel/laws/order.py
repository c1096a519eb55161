"""Which of several arms will be ahead at a larger budget, from their losses at smaller ones.

No law of the loss itself is fitted: Magnusson et al. 2025 (DataDecide, arXiv:2504.11393) found that such laws order data recipes no better
than their rank at one scale does. What is fitted is the difference between arms at equal compute, whose common curve cancels:

    log loss of arm a at scale c = m_c + u_a + v_a log C + w_ac + noise

m_c is free. The slopes v and the departures w are random effects; their sizes and that of the noise are averaged over, weighted by the
likelihood of the table. A slope is thus believed as far as the arms of the table have slopes, and a difference that could be noise stays
one. ``rank_at_one_scale`` is the order at the largest scale that all arms have, which is what any forecast has to beat.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from windtunnel.core.errors import UserError, nearest
from windtunnel.core.typed import JsonBlock
from windtunnel.laws.forecast import Bounds
from windtunnel.laws.table import check_count, check_loss, read_table, scales

if TYPE_CHECKING:
    import pandas

SLOPES, DEPARTURES, NOISES = (np.geomspace(1e-4, 3e-2, 8), np.geomspace(1e-4, 3e-2, 7), np.geomspace(1e-4, 3e-2, 8))
WIDE = 1.0  # prior deviation of what is free
DRAWS = 4000
RISE = 0.005  # of the log loss from a scale to the next, above which it is said
UNLIKELY = 1e-3  # settings with a smaller share of the best one's likelihood are left out


class ArmForecast(JsonBlock):
    """One arm at the target."""

    best: float = Field(description="probability that it has the lowest loss of all")
    better: float | None = Field(None, description="probability that it has a lower loss than the baseline; None for the baseline")
    difference: Bounds | None = Field(None, description="relative difference of the loss from the baseline's; below zero is better")
    regret: float = Field(description="expected relative loss above the best arm's, if this one is chosen")


class OrderResult(JsonBlock):
    """The order of arms at a larger budget."""

    target: float = Field(description="FLOPs")
    largest: float = Field(description="the largest budget that all arms have")
    baseline: str = Field(description="the arm that others are compared with")
    arms: dict[str, ArmForecast] = Field(description="by name, the best first")
    order: list[str] = Field(description="arms by expected loss at the target")
    rank_at_one_scale: list[str] = Field(description="arms by mean loss at the largest budget that all have")
    points: int = Field(description="rows used")
    scales: int = Field(description="budgets that all arms have")
    warnings: list[str] = Field([], description="what a reader must know before the order is used")

    def table(self) -> pandas.DataFrame:
        """A row an arm."""
        import pandas

        return pandas.DataFrame(
            {
                name: {
                    "best": one.best,
                    "better": one.better,
                    "difference": one.difference.value if one.difference else 0.0,
                    "low": one.difference.low if one.difference else 0.0,
                    "high": one.difference.high if one.difference else 0.0,
                    "regret": one.regret,
                }
                for name, one in self.arms.items()
            }
        ).T


def order(
    path: str | Path,
    *,
    arm: str,
    flops: str,
    loss: str,
    target: float,
    baseline: str | None = None,
    where: Mapping[str, str] | None = None,
) -> OrderResult:
    """Which arm will be ahead at ``target`` FLOPs, and with what probability.

    Args:
        path: of the table, a row a run; several rows of an arm at one budget are seeds.
        arm: column of the arm's name.
        flops: column of training FLOPs; runs within 8 percent of the middle of many are one scale.
        loss: column of the final loss.
        target: FLOPs of the run that is to be decided.
        baseline: the arm that others are compared with (default: the first of the table).
        where: only rows whose cell in a column says this.

    Raises:
        UserError: for a table that cannot be read, fewer than two arms or scales in common, or a target below the ladder.
    """
    table = read_table(Path(path), {"flops": flops, "loss": loss}, {"arm": arm}, where=where)
    check_count(table, "flops", 1e6, "FLOPs")
    table = check_loss(table)
    names = list(dict.fromkeys(table.words["arm"]))
    if baseline is not None and baseline not in names:
        raise UserError(f"{path}: no arm {baseline!r}; {nearest(baseline, names)}")
    if len(names) < 2:
        raise UserError(f"{path}: column {arm!r} has one arm, {names[0]}; an order needs two")
    told = list(table.warnings)
    logs, who = np.log(table.numbers["flops"]), np.array([names.index(word) for word in table.words["arm"]])
    scale = scales(logs)
    common = [s for s in range(scale.max() + 1) if len(set(who[scale == s])) == len(names)]
    if len(common) < 2:
        raise UserError(
            f"{path}: the arms have {len(common)} budgets in common, and two or more are needed; fly every arm at the same budgets"
        )
    if (dropped := ~np.isin(scale, common)).any():
        told.append(f"{table.at(dropped)}: at budgets that some arm lacks; left out. Fly every arm at the same budgets")
    kept = ~dropped
    logs, who, scale, y = logs[kept], who[kept], scale[kept], np.log(table.numbers["loss"][kept])
    at = {s: float(logs[scale == s].mean()) for s in common}
    largest = max(at.values())
    if not (np.isfinite(target) and target > 0) or np.log(target) < min(at.values()) - np.log(1.05):
        raise UserError(
            f"the target of {target:.3g} FLOPs lies below the ladder, which begins at {np.exp(min(at.values())):.3g}; give a larger target"
        )
    told += doubts(np.log(target) - largest, len(common), at, scale, who, len(names)) + not_monotone(y, scale, at)
    cells = gather(y, who, np.array([common.index(s) for s in scale]), np.array([at[s] for s in common]) - largest)
    drawn = Posterior.of(cells, float(np.log(target)) - largest).draw()
    top = scale == max(at, key=lambda s: at[s])
    mean = [float(y[top & (who == number)].mean()) for number in range(len(names))]
    facts = {"target": target, "largest": float(np.exp(largest)), "points": len(y), "scales": len(common)}
    return ranked(names, baseline or names[0], drawn, mean, told, **facts)


@dataclass(frozen=True)
class Cells:
    """Mean log loss of every arm at every scale that has it; and how runs of one cell scatter."""

    mean: np.ndarray  # [cells]
    arm: np.ndarray  # [cells]
    scale: np.ndarray  # [cells]
    runs: np.ndarray  # [cells]
    place: np.ndarray  # [scales], log FLOPs less those of the largest
    squares: float  # about the means of arms, and of seeds where all arms of a scale have the same
    freedom: int


def gather(y: np.ndarray, who: np.ndarray, scale: np.ndarray, place: np.ndarray, seed: np.ndarray | None = None) -> Cells:
    """Cells of runs with log loss ``y``. Where the arms of a scale share seeds, what a seed does to all of them is no noise."""
    squares, freedom = 0.0, 0
    kept = []
    for at in range(len(place)):
        here = scale == at
        arms = np.unique(who[here])
        rows = [y[here & (who == arm)] for arm in arms]
        kept += [(row.mean(), arm, at, len(row)) for arm, row in zip(arms, rows, strict=True)]
        if seed is not None and len(rows[0]) > 1:
            order = [np.sort(seed[here & (who == arm)]) for arm in arms]
            if all(np.array_equal(order[0], one) for one in order):
                table = np.array([y[here & (who == arm)][np.argsort(seed[here & (who == arm)])] for arm in arms])
                left = table - table.mean(axis=0) - table.mean(axis=1, keepdims=True) + table.mean()
                squares, freedom = squares + float((left**2).sum()), freedom + (len(arms) - 1) * (table.shape[1] - 1)
                continue
        squares += sum(float(((row - row.mean()) ** 2).sum()) for row in rows)
        freedom += sum(len(row) - 1 for row in rows)
    mean, arm, at_scale, runs = (np.array(column) for column in zip(*kept, strict=True))
    return Cells(mean, arm.astype(int), at_scale.astype(int), runs, place, squares, freedom)


@dataclass(frozen=True)
class Posterior:
    """What the cells say of every arm's log loss at some places, less the common curve: a mixture of normal distributions."""

    weight: np.ndarray  # [settings]
    mean: np.ndarray  # [settings, places x arms]
    covariance: np.ndarray  # [settings, places x arms, places x arms]
    noise: np.ndarray  # [settings]
    arms: int

    @classmethod
    def of(cls, cells: Cells, *places: float) -> Posterior:
        """At ``places`` (log FLOPs less those of the largest scale); a place of 0 is the largest scale itself."""
        arms, x = int(cells.arm.max()) + 1, cells.place[cells.scale]
        y = cells.mean - cells.mean.mean()
        same, together = cells.arm[:, None] == cells.arm, cells.scale[:, None] == cells.scale
        at, who = np.repeat(places, arms), np.tile(np.arange(arms), len(places))
        own, there = who[:, None] == cells.arm, at[:, None] == x
        alike = who[:, None] == who
        settings = np.array(list(itertools.product(SLOPES, DEPARTURES, NOISES)))
        likely = []
        solved = []
        for slope, departure, noise in settings:
            matrix = WIDE**2 * together + same * (WIDE**2 + slope**2 * np.outer(x, x) + departure**2 * together)
            factor = np.linalg.cholesky(matrix + np.diag(noise**2 / cells.runs))
            half = np.linalg.solve(factor, y)
            scatter = -cells.freedom * np.log(noise) - cells.squares / (2 * noise**2)
            likely.append(-0.5 * half @ half - np.log(np.diag(factor)).sum() + scatter)
            solved.append((factor, half))
        weight = np.exp(np.array(likely) - max(likely))
        kept = np.flatnonzero(weight > UNLIKELY)
        mean, covariance = [], []
        for number in kept:
            (slope, departure, _), (factor, half) = settings[number], solved[number]
            down = np.linalg.solve(factor, (own * (WIDE**2 + slope**2 * np.outer(at, x) + departure**2 * there)).T)
            prior = alike * (WIDE**2 + slope**2 * np.outer(at, at) + departure**2 * (at[:, None] == at))
            mean.append(down.T @ half)
            covariance.append(prior - down.T @ down)
        shares = weight[kept] / weight[kept].sum()
        return cls(shares, np.stack(mean), np.stack(covariance), settings[kept, 2], arms)

    def draw(self, count: int = DRAWS) -> np.ndarray:
        """Samples at the first place, [samples, arms]."""
        random = np.random.default_rng(0)
        first = slice(self.arms)
        found = [
            random.multivariate_normal(self.mean[number, first], self.covariance[number, first, first], size=times, method="eigh")
            for number, times in enumerate(random.multinomial(count, self.weight))
            if times
        ]
        return np.concatenate(found)


def doubts(beyond: float, scales: int, at: Mapping[int, float], scale: np.ndarray, who: np.ndarray, arms: int) -> list[str]:
    """Warnings about a target ``beyond`` the largest scale (logarithm of FLOPs) and scales at ``at`` that tell little of it."""
    told = []
    span = max(at.values()) - min(at.values())
    if scales == 2:
        told.append("two scales alone tell how differences grow; fly a third")
    if beyond > np.log(100):
        told.append(f"the target is {np.exp(beyond):.3g} times the largest budget flown: an extrapolation that nothing here verifies")
    elif beyond > max(span, np.log(10)):
        told.append(f"the target is {np.exp(beyond):.3g} times the largest budget flown, further than the ladder is long")
    if all((who[scale == s] == number).sum() < 2 for s in at for number in range(arms)):
        told.append("no arm has two runs at a budget, so noise between seeds and real departures cannot be told apart; fly a second seed")
    return told


def not_monotone(y: np.ndarray, scale: np.ndarray, at: Mapping[int, float]) -> list[str]:
    """A warning where the mean of ``y`` [rows], log losses, rises by half a percent from a scale to the next; ``at`` as in doubts."""
    ladder = sorted(at, key=lambda s: at[s])
    means = [float(y[scale == s].mean()) for s in ladder]
    rises = np.diff(means)
    if rises.max() <= RISE:
        return []
    worst = int(rises.argmax())
    low, high = (np.exp(at[s]) for s in ladder[worst : worst + 2])
    return [
        f"the ladder is not monotone: results at {high:.3g} FLOPs are {np.expm1(rises[worst]):.1%} worse than at {low:.3g}; "
        "fly that scale again, or leave it out"
    ]


def ranked(names: list[str], baseline: str, drawn: np.ndarray, last: list[float], told: list[str], **facts: float) -> OrderResult:
    """The result that samples [samples, arms] of the log loss at the target come to; ``last`` is the log loss at the largest scale."""
    base = drawn[:, names.index(baseline)]
    lead = drawn.min(axis=1)
    arms: dict[str, ArmForecast] = {}
    mean = drawn.mean(axis=0)
    for number in np.argsort(mean):
        apart = np.expm1(drawn[:, number] - base)
        is_base = names[number] == baseline
        low, high = (float(end) for end in np.percentile(apart, [2.5, 97.5]))
        arms[names[number]] = ArmForecast(
            best=float((drawn[:, number] <= lead).mean()),
            better=None if is_base else float((apart < 0).mean()),
            difference=None if is_base else Bounds(value=float(np.median(apart)), low=low, high=high),
            regret=float(np.expm1(drawn[:, number] - lead).mean()),
        )
    ranks = [names[number] for number in np.argsort(last)]
    if ranks[0] != (first := next(iter(arms))):
        told.append(f"{ranks[0]} leads at the largest scale and {first} is expected to lead at the target: the order may reverse")
    best = arms[first].best
    if best < 0.8:
        told.append(f"{first} is ahead with probability {best:.2f}, which decides nothing; fly more seeds or a larger scale")
    return OrderResult(baseline=baseline, arms=arms, order=list(arms), rank_at_one_scale=ranks, warnings=told, **facts)  # type: ignore[arg-type]
