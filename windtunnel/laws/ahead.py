"""Whether what was measured of a paper's claims would hold at a larger budget, from the committed results of its scales.

For each expectation the difference between its two arms is forecast as :mod:`windtunnel.laws.order` does it, from the numbers of every seed
at every scale that was flown. Where one scale alone was flown, its difference is carried on, and how it changes with compute is what the
prior of slopes says and no run: a difference that is large stays likely, and one that is small becomes open.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping

import numpy as np
from pydantic import Field

from windtunnel.core.typed import JsonBlock, Number
from windtunnel.laws.forecast import Bounds
from windtunnel.laws.order import Posterior, gather
from windtunnel.study.paper_result import Finding, PaperResult
from windtunnel.study.result import BASELINE

TIMES = (10.0, 100.0)  # the largest budget flown: the second is beyond what anything here verifies
LEVEL = (10.0, 90.0)  # percentiles of an interval of 80 percent


class Ahead(JsonBlock):
    """A claim at a multiple of the largest budget flown."""

    times: float = Field(description="the largest budget flown")
    holds: float = Field(description="probability that the arm improves as the claim says")
    improvement: Bounds = Field(description="relative, above zero is better, with an interval of 80 percent")
    verified: bool = Field(description="false beyond ten times what was flown, where no forecast of ours was ever compared with a run")


class ClaimAhead(JsonBlock):
    """One expectation of a paper."""

    arm: str
    against: str
    metric: str
    relation: str
    by: float
    scales: list[str] = Field(description="that measured it, the smallest first")
    largest: Number | None = Field(None, description="FLOPs of the baseline at the largest of them")
    measured: Number | None = Field(None, description="mean relative improvement there")
    ahead: list[Ahead] = Field([], description="empty where it cannot be forecast")
    why: str = Field("", description="why not, or on what it rests")


def claims_ahead(results: Mapping[str, PaperResult]) -> list[ClaimAhead]:
    """Every expectation about arms, from the results of a paper by scale."""
    spent = {scale: flops for scale, result in results.items() if (flops := _spent(result))}
    scales = sorted(spent, key=lambda scale: spent[scale])
    if not scales:
        return []
    found = []
    for one in (finding for finding in results[scales[-1]].expectations if finding.arm):
        alike = {scale: same for scale in scales if (same := _same(one, results[scale])) is not None}
        found.append(_ahead(one, alike, spent))
    return found


def _spent(result: PaperResult) -> float | None:
    """FLOPs of the baseline at its budget; None where it never finished."""
    flops = [run.totals.flops for run in result.runs if run.arm == BASELINE and run.multiple == 1 and run.finished and run.totals.flops]
    return statistics.fmean(flops) if flops else None


def _same(wanted: Finding, result: PaperResult) -> Finding | None:
    """The finding of ``result`` about the same claim."""
    about = ("arm", "against", "metric", "than", "relation", "by")
    return next((one for one in result.expectations if all(getattr(one, key) == getattr(wanted, key) for key in about)), None)


def _ahead(claim: Finding, found: Mapping[str, Finding], spent: Mapping[str, float]) -> ClaimAhead:
    """``claim`` forecast from what each scale found."""
    about = {key: getattr(claim, key) for key in ("arm", "against", "metric", "relation", "by")}
    sides = {scale: pair for scale, one in found.items() if (pair := _sides(one)) is not None}
    if not sides:
        why = f"{claim.metric} is no number above zero that both sides have of one seed"
        return ClaimAhead(**about, scales=list(found), why=why)
    sign = 1.0 if claim.direction == "lower" else -1.0
    rows = [
        (sign * np.log(value), who, place, seed)
        for place, pair in enumerate(sides.values())
        for who, side in enumerate(pair)
        for seed, value in side.items()
    ]
    y, who, place, seed = (np.array(column) for column in zip(*rows, strict=True))
    logs = np.log([spent[scale] for scale in sides])
    cells = gather(y, who, place, logs - logs[-1], seed)
    ahead = []
    for times in TIMES:
        drawn = Posterior.of(cells, float(np.log(times))).draw()
        gain = sign * -np.expm1(sign * (drawn[:, 1] - drawn[:, 0]))
        low, middle, high = np.percentile(gain, [LEVEL[0], 50, LEVEL[1]])
        improvement = Bounds(value=float(middle), low=float(low), high=float(high))
        holds = float(_fulfilled(gain, claim).mean())
        ahead.append(Ahead(times=times, holds=holds, improvement=improvement, verified=times <= TIMES[0]))
    last = [float(y[(place == place.max()) & (who == side)].mean()) for side in (0, 1)]
    why = "one scale: how the difference changes with compute is what a prior says" if len(sides) == 1 else f"{len(sides)} scales"
    return ClaimAhead(
        **about,
        scales=list(sides),
        largest=spent[list(sides)[-1]],
        measured=float(sign * -np.expm1(sign * (last[1] - last[0]))),
        ahead=ahead,
        why=why,
    )


def _sides(found: Finding) -> tuple[dict[int, float], dict[int, float]] | None:
    """The numbers of `against` and of the arm by seed, those seeds that both have; None where their ratio says nothing."""
    if not found.relative or found.than or not found.values:
        return None
    arm, against = ({int(seed): value for seed, value in (found.values.get(name) or {}).items()} for name in (found.arm, found.against))
    seeds = sorted(arm.keys() & against.keys())
    numbers = [side[seed] for side in (arm, against) for seed in seeds]
    if not seeds or not all(value is not None and np.isfinite(value) and value > 0 for value in numbers):
        return None
    return {seed: against[seed] for seed in seeds}, {seed: arm[seed] for seed in seeds}


def _fulfilled(gain: np.ndarray, claim: Finding) -> np.ndarray:
    """Whether each improvement is what the claim says, as :func:`windtunnel.study.claims.decide` has it of an interval."""
    if claim.relation == "worse":
        return np.asarray(-gain > claim.by)
    return np.asarray(gain >= -claim.by if claim.relation == "not-worse" else gain > claim.by)
