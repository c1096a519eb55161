"""Several corpora, one answer: does an arm help on a corpus that was not flown? And do two techniques add up?

Effects of one arm on several corpora vary. A random-effects meta-analysis has a mean with the interval of Hartung and Knapp, which holds
for few corpora, and a prediction interval (Riley et al. 2011, doi:10.1136/bmj.d549): where the effect on a new corpus will lie. The
variance between corpora is that of Paule and Mandel. ``windtunnel law corpora`` and ``windtunnel law interaction`` print what is found.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pydantic import Field

from windtunnel.core.errors import UserError, nearest
from windtunnel.core.typed import JsonBlock, Number
from windtunnel.study.lenient import as_result
from windtunnel.study.result import BASELINE, StudyResult

FEWEST = 3  # corpora: a prediction interval has two degrees of freedom fewer


class Pooled(JsonBlock):
    """The effect of an arm over corpora: relative difference of the metric from the baseline's; below zero is lower."""

    corpora: dict[str, float] = Field(description="the effect on each")
    mean: float
    low: float = Field(description="lower end of the interval of 95 percent of the mean")
    high: float
    predicted_low: Number = Field(description="lower end of the interval of 95 percent for a corpus that was not flown")
    predicted_high: Number
    between: float = Field(description="standard deviation between corpora")
    helps: float = Field(description="probability that it improves the metric on a corpus that was not flown")
    warnings: list[str] = []


def random_effects(effect: np.ndarray, variance: np.ndarray) -> tuple[float, float, float]:
    """Mean, its standard error after Hartung and Knapp, and the variance between (Paule and Mandel), of effects with their variances."""
    from scipy import optimize

    freedom = len(effect) - 1

    def excess(between: float) -> float:
        weight = 1 / (variance + between)
        return float((weight * (effect - (weight @ effect) / weight.sum()) ** 2).sum() - freedom)

    between = 0.0
    if excess(0.0) > 0:
        most = float(effect.var(ddof=1)) + 1e-12
        while excess(most) > 0:
            most *= 4
        between = float(optimize.brentq(excess, 0.0, most))
    weight = 1 / (variance + between)
    mean = float((weight @ effect) / weight.sum())
    spread = float((weight * (effect - mean) ** 2).sum() / freedom)
    return mean, float(np.sqrt(spread / weight.sum())), between


def pool(names: Sequence[str], effect: np.ndarray, variance: np.ndarray, better: str = "lower") -> Pooled:
    """One answer from the effects of an arm on several corpora.

    Args:
        names: of the corpora.
        effect: relative differences.
        variance: of each.
        better: which way the metric is: lower or higher.

    Raises:
        UserError: for fewer than three corpora.
    """
    from scipy import stats

    if len(effect) < FEWEST:
        raise UserError(
            f"{len(effect)} corpora cannot tell how effects vary between them; fly {FEWEST - len(effect)} more, of another kind"
        )
    mean, error, between = random_effects(effect, variance)
    reach = float(stats.t.ppf(0.975, len(effect) - 1)) * error
    wide = float(np.sqrt(between + error**2))
    far = float(stats.t.ppf(0.975, len(effect) - 2)) * wide
    told = []
    if len(effect) < 5:
        told.append(f"{len(effect)} corpora: the prediction interval is wide because so few say how effects vary; fly more of them")
    if mean - far < 0 < mean + far and not mean - reach < 0 < mean + reach:
        told.append("the effect is real on average, and may still be the other way round on a corpus that was not flown")
    worse = mean if better == "lower" else -mean
    return Pooled(
        corpora=dict(zip(names, map(float, effect), strict=True)),
        mean=mean,
        low=mean - reach,
        high=mean + reach,
        predicted_low=mean - far,
        predicted_high=mean + far,
        between=float(np.sqrt(between)),
        helps=float(stats.t.cdf(-worse / wide, len(effect) - 2)) if wide else float(worse < 0),
        warnings=told,
    )


def over_corpora(results: Sequence[StudyResult | Mapping[str, Any]]) -> dict[str, Pooled]:
    """Every arm that all ``results`` have, pooled over them: one study on several corpora.

    Raises:
        UserError: for results by several metrics, without an arm in common, or fewer than three.
    """
    read = [as_result(result) for result in results]
    if len(metrics := {result.study.metric for result in read}) != 1:
        raise UserError(f"the results have several metrics: {', '.join(sorted(metrics))}")
    arms = [arm for arm in read[0].arms if all(arm in result.arms for result in read)]
    if not arms:
        raise UserError("the results have no arm in common; fly the same study on each corpus")
    names = [result.study.name for result in read]
    names = [f"{name} ({place + 1})" if names.count(name) > 1 else name for place, name in enumerate(names)]
    found = {}
    for arm in arms:
        apart = [differences(result, {BASELINE: -1.0, arm: 1.0}) for result in read]
        effect, variance = np.array([one.mean() for one in apart]), np.array([one.var(ddof=1) / len(one) for one in apart])
        found[arm] = pool(names, effect, np.maximum(variance, 1e-16), read[0].study.better)
    return found


# Factors ------------------------------------------------------------------------------------------------------------------------------


class Interaction(JsonBlock):
    """Whether two techniques add up: log of the metric with both, less what each does alone."""

    one: float = Field(description="effect of the first alone, a share")
    other: float = Field(description="effect of the second alone")
    both: float = Field(description="effect of both together")
    interaction: float = Field(description="both less the sum of each alone; below zero they lower the metric by more together")
    low: float = Field(description="lower end of the interval of 95 percent")
    high: float
    seeds: int = Field(description="that all four have")


def interaction(result: StudyResult | Mapping[str, Any], one: str, other: str, both: str) -> Interaction:
    """The interaction of two techniques from a study with each alone and both together, by seed.

    Raises:
        UserError: for an arm that the study does not have, or fewer than two seeds that all four arms finished.
    """
    from scipy import stats

    read = as_result(result)
    for name in (one, other, both):
        if name not in read.arms:
            raise UserError(f"{read.study.name}: no arm {name!r}; {nearest(name, read.arms)}")
    apart = differences(read, {both: 1.0, one: -1.0, other: -1.0, BASELINE: 1.0})
    alone = [float(differences(read, {name: 1.0, BASELINE: -1.0}).mean()) for name in (one, other, both)]
    reach = float(stats.t.ppf(0.975, len(apart) - 1)) * float(apart.std(ddof=1)) / np.sqrt(len(apart))
    middle = float(apart.mean())
    return Interaction(
        one=alone[0], other=alone[1], both=alone[2], interaction=middle, low=middle - reach, high=middle + reach, seeds=len(apart)
    )


def differences(result: StudyResult, signs: Mapping[str, float]) -> np.ndarray:
    """The sum of log metrics of arms with their signs, by seed that all of them finished at the budget, [seeds].

    Raises:
        UserError: for fewer than two such seeds.
    """
    metric = result.study.metric
    found: dict[str, dict[int, float]] = {arm: {} for arm in signs}
    for run in result.runs:
        value = run.test.get(metric)
        if run.arm in found and run.multiple == 1.0 and run.finished and value is not None and value > 0:
            found[run.arm][run.seed] = float(np.log(value))
    seeds = sorted(set.intersection(*(set(values) for values in found.values())))
    if len(seeds) < 2:
        raise UserError(f"{result.study.name}: {len(seeds)} seeds finished by all of {', '.join(signs)}; fly two or more")
    return np.array([sum(sign * found[arm][seed] for arm, sign in signs.items()) for seed in seeds])
