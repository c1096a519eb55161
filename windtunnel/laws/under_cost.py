"""The best of several shapes under a cost: a score that pays for what it costs.

Tan et al. 2019 (arXiv:1807.11626) search for score (cost / target)^exponent, where the cost is one that was measured: seconds on the
machine that will be used, and not FLOPs. An exponent of -0.07 says that twice the cost is worth 5 percent of the score.
``windtunnel law under-cost`` prints what :func:`under_cost` finds; the interval of every reward is a bootstrap over its shape's runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from pydantic import Field

from windtunnel.core.errors import UserError
from windtunnel.core.typed import JsonBlock
from windtunnel.laws.forecast import Bounds, intervals
from windtunnel.laws.table import check_count, read_table

EXPONENT = -0.07
DRAWS = 4000


class PricedShape(JsonBlock):
    """One shape."""

    score: float = Field(description="mean over its runs")
    cost: float = Field(description="mean over its runs")
    reward: Bounds = Field(description="score (cost / target)^exponent")
    best: float = Field(description="probability that its reward is the highest")
    frontier: bool = Field(description="whether no other shape is both better and cheaper")


class UnderCostResult(JsonBlock):
    """Shapes by reward."""

    target: float = Field(description="cost at which a score counts in full")
    exponent: float
    shapes: dict[str, PricedShape] = Field(description="by name, the highest reward first")
    trade: Bounds = Field(description="slope of log score over log cost between shapes of the frontier: what cost buys here")
    warnings: list[str] = []


def under_cost(
    path: str | Path,
    *,
    name: str,
    score: str,
    cost: str,
    target: float,
    exponent: float = EXPONENT,
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
        where: only rows whose cell in a column says this.

    Raises:
        UserError: for a table that cannot be read, fewer than two shapes, or numbers that are not positive.
    """
    if exponent > 0 or not target > 0:
        raise UserError(f"the exponent ({exponent:g}) must not be above 0, and the target ({target:g}) must be above it")
    table = read_table(Path(path), {"score": score, "cost": cost}, {"name": name}, where=where)
    check_count(table, "score", 0, "scores")
    check_count(table, "cost", 0, "costs")
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
    return UnderCostResult(target=target, exponent=exponent, shapes=shapes, trade=_trade(middle, samples, front), warnings=told)


def _trade(middle: np.ndarray, samples: np.ndarray, front: np.ndarray) -> Bounds:
    """Slope of log score over log cost along the frontier; nan where one shape is all of it."""
    if front.sum() < 2:
        return Bounds(value=float("nan"), low=float("nan"), high=float("nan"))

    def slope(score: np.ndarray, cost: np.ndarray) -> np.ndarray:
        centred = cost - cost.mean(axis=0)
        return np.asarray((centred * score).sum(axis=0) / np.maximum((centred**2).sum(axis=0), 1e-12))

    value = slope(middle[front, 0][:, None], middle[front, 1][:, None])
    return intervals(["trade"], value, slope(samples[front, 0], samples[front, 1])[:, None])["trade"]
