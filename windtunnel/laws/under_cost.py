"""The best of several shapes under a cost: a score that pays for what it costs.

Tan et al. 2019 (arXiv:1807.11626) search for score (cost / target)^exponent, where the cost is one that was measured: seconds on the
machine that will be used, and not FLOPs. An exponent of -0.07 says that twice the cost is worth 5 percent of the score.
``windtunnel law under-cost`` prints what :func:`under_cost` finds; the interval of every reward is a bootstrap over its shape's runs.

Whether measuring pays is another question. With a ``proxy`` such as FLOPs, shapes are chosen by the reward under it and under the cost,
each time on all groups of runs but one, and both choices are judged by the cost measured in that one.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from pydantic import Field

from windtunnel.core.errors import UserError
from windtunnel.core.typed import JsonBlock
from windtunnel.laws.forecast import Bounds, intervals
from windtunnel.laws.table import RunTable, check_count, read_table

EXPONENT = -0.07
DRAWS = 4000


class PricedShape(JsonBlock):
    """One shape."""

    score: float = Field(description="mean over its runs")
    cost: float = Field(description="mean over its runs")
    reward: Bounds = Field(description="score (cost / target)^exponent")
    best: float = Field(description="probability that its reward is the highest")
    frontier: bool = Field(description="whether no other shape is both better and cheaper")


class Choosing(JsonBlock):
    """Which shape is chosen by the reward under the cost and under the proxy, and what that is worth in runs that nobody chose by.

    A gain is a ratio of rewards under the cost: above one where choosing by the cost pays. Intervals are bootstraps over groups of runs.
    """

    by_cost: str = Field(description="the shape chosen by the cost, on all runs")
    by_proxy: str = Field(description="the shape chosen by the proxy, on all runs")
    gain: Bounds = Field(description="over the shape that the proxy chooses")
    over_random: Bounds = Field(description="over a shape that is drawn")


class UnderCostResult(JsonBlock):
    """Shapes by reward."""

    target: float = Field(description="cost at which a score counts in full")
    exponent: float
    shapes: dict[str, PricedShape] = Field(description="by name, the highest reward first")
    trade: Bounds = Field(description="slope of log score over log cost between shapes of the frontier: what cost buys here")
    choosing: Choosing | None = Field(None, description="where a proxy is given")
    warnings: list[str] = []


def under_cost(
    path: str | Path,
    *,
    name: str,
    score: str,
    cost: str,
    target: float,
    exponent: float = EXPONENT,
    proxy: str | None = None,
    group: str | None = None,
    where: Mapping[str, str] | None = None,
) -> UnderCostResult:
    """Shapes by reward, from a table of runs.

    Args:
        path: of the table, a row a run; several rows of a name are seeds.
        name: column of the shape's name.
        score: column of a score above zero, of which more is better.
        cost: column of the cost, as measured.
        target: the cost that is wanted, in the same unit.
        exponent: below zero.
        proxy: column of a number that stands for the cost, such as FLOPs, to be compared with it.
        group: with a proxy, the column of what says which runs belong together, such as the seed; each has a run of every shape.
        where: only rows whose cell in a column says this.

    Raises:
        UserError: for a table that cannot be read, fewer than two shapes, numbers that are not positive, or with a proxy no group, fewer
            than three of them, or one that lacks a shape.
    """
    if exponent > 0 or not target > 0:
        raise UserError(f"the exponent ({exponent:g}) must not be above 0, and the target ({target:g}) must be above it")
    if (proxy is None) != (group is None):
        raise UserError("a proxy and a group go together: shapes are chosen on some groups of runs and judged on another")
    numbers = {"score": score, "cost": cost} | ({"proxy": proxy} if proxy else {})
    table = read_table(Path(path), numbers, {"name": name, "group": group}, where=where)
    for role in numbers:
        check_count(table, role, 0, {"score": "scores", "cost": "costs", "proxy": "numbers of the proxy"}[role])
    names = list(dict.fromkeys(table.words["name"]))
    if len(names) < 2:
        raise UserError(f"{path}: one shape, {names[0]}; a search needs two or more")
    who = np.array(table.words["name"])
    random = np.random.default_rng(0)
    told, drawn, means = list(table.warnings), [], []
    single = []
    for each in names:
        scores, costs = np.log(table.numbers["score"][who == each]), np.log(table.numbers["cost"][who == each])
        picked = random.integers(len(scores), size=(DRAWS, len(scores)))
        drawn.append(np.stack([scores[picked].mean(axis=1), costs[picked].mean(axis=1)]))
        means.append((scores.mean(), costs.mean()))
        single += [each] if len(scores) < 2 else []
    if single:
        which = ", ".join(single[:3]) + (f" and {len(single) - 3} more" if len(single) > 3 else "")
        told.append(f"{which}: one run each, so the reward has no interval; fly a second seed")
    samples, middle = np.stack(drawn), np.array(means)  # [shapes, (score, cost), draws]
    rewards = samples[:, 0] + exponent * (samples[:, 1] - np.log(target))
    value = middle[:, 0] + exponent * (middle[:, 1] - np.log(target))
    ahead = (rewards >= rewards.max(axis=0)).mean(axis=1)
    at_least, no_dearer = middle[:, None, 0] >= middle[:, 0], middle[:, None, 1] <= middle[:, 1]
    same = (middle[:, None] == middle).all(axis=2)
    front = ~(at_least & no_dearer & ~same).any(axis=0)
    if middle[:, 1].min() > np.log(target):
        told.append(f"every shape costs more than the target; fly cheaper ones, down to {target:g}")
    shapes = {}
    for place in np.argsort(-value):
        band = intervals(["reward"], np.exp(value[place : place + 1]), np.exp(rewards[place])[:, None])["reward"]
        shapes[names[place]] = PricedShape(
            score=float(np.exp(middle[place, 0])),
            cost=float(np.exp(middle[place, 1])),
            reward=band,
            best=float(ahead[place]),
            frontier=bool(front[place]),
        )
    if (best := max(ahead)) < 0.8:
        told.append(f"the first is ahead with probability {best:.2f}, which decides nothing; fly more seeds of the first two")
    choosing = _choosing(table, names, exponent) if proxy else None
    trade = _trade(middle, samples, front)
    return UnderCostResult(target=target, exponent=exponent, shapes=shapes, trade=trade, choosing=choosing, warnings=told)


def _choosing(table: RunTable, names: list[str], exponent: float) -> Choosing:
    """What choosing by the cost is worth: each group of runs judges what the others choose."""
    who, groups = np.array(table.words["name"]), np.array(table.words["group"])
    kinds = list(dict.fromkeys(groups))
    if len(kinds) < 3:
        raise UserError(f"{table.path}: {len(kinds)} groups of runs, and a choice on some that is judged by another needs three; fly more")
    logs = np.zeros((3, len(names), len(kinds)))
    for row, each in enumerate(names):
        for column, kind in enumerate(kinds):
            mine = (who == each) & (groups == kind)
            if not mine.any():
                raise UserError(f"{table.path}: group {kind} has no run of {each}; fly it, or leave one of them out with `where`")
            logs[:, row, column] = [np.log(table.numbers[role][mine]).mean() for role in ("score", "cost", "proxy")]
    rewards = logs[0] + exponent * logs[1:]  # [(cost, proxy), shapes, groups]
    of_others = (rewards.sum(axis=2, keepdims=True) - rewards) / (len(kinds) - 1)
    by_cost, by_proxy = of_others.argmax(axis=1)
    each_group = np.arange(len(kinds))
    got = rewards[0, by_cost, each_group]
    worth = np.stack([got - rewards[0, by_proxy, each_group], got - rewards[0].mean(axis=0)])
    picked = np.random.default_rng(0).integers(len(kinds), size=(DRAWS, len(kinds)))
    found = intervals(["gain", "over_random"], np.exp(worth.mean(axis=1)), np.exp(worth[:, picked].mean(axis=2)).T)
    cost, proxy = (names[place] for place in rewards.mean(axis=2).argmax(axis=1))
    return Choosing(by_cost=cost, by_proxy=proxy, **found)


def _trade(middle: np.ndarray, samples: np.ndarray, front: np.ndarray) -> Bounds:
    """Slope of log score over log cost along the frontier; nan where one shape is all of it."""
    if front.sum() < 2:
        return Bounds(value=float("nan"), low=float("nan"), high=float("nan"))

    def slope(score: np.ndarray, cost: np.ndarray) -> np.ndarray:
        centred = cost - cost.mean(axis=0)
        return np.asarray((centred * score).sum(axis=0) / np.maximum((centred**2).sum(axis=0), 1e-12))

    value = slope(middle[front, 0][:, None], middle[front, 1][:, None])
    return intervals(["trade"], value, slope(samples[front, 0], samples[front, 1])[:, None])["trade"]
