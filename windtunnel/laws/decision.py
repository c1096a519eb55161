"""A forecast from studies: for every arm the probability that it is ahead at a larger budget, and whether more pilots would change that.

The studies fly the same arms at several scales, such as one study in sections S, M and L. A scale is what the baseline spent there. What is
fitted is the difference between arms (:mod:`windtunnel.laws.order`); the loss itself is the baseline's power law of compute with the
difference upon it. ``windtunnel forecast`` prints what :func:`forecast` finds, and the page of its result has a section of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import Field

from windtunnel.core.errors import UserError
from windtunnel.core.typed import JsonBlock, Number
from windtunnel.laws.band import foretell
from windtunnel.laws.forecast import Bounds
from windtunnel.laws.order import ArmForecast, Cells, OrderResult, Posterior, doubts, gather, not_monotone, ranked
from windtunnel.laws.power import COMPUTE
from windtunnel.laws.table import scales
from windtunnel.laws.under_way import OnTheWay, on_the_way
from windtunnel.study.lenient import as_result
from windtunnel.study.result import BASELINE, StudyResult

STEPS = (2.0, 4.0, 10.0)  # times the largest budget, at which one more scale might be flown
MATTERS = 0.05  # probability of another choice, from which a pilot is worth proposing
BAND = (10.0, 90.0)  # percentiles of a band of 80 percent
PLACES = 24  # of a band
RUNS_FOR_BAND = 2  # of the baseline for each number of its law: with fewer, what the law misses cannot be told
DRAWS = 400
MORE = 3  # seeds of a proposed pilot


class At(JsonBlock):
    """A number of FLOPs, and the metric there."""

    flops: float
    value: Number = Field(description="measured mean, or the middle of the band")
    low: Number | None = Field(None, description="lower end of the band of 80 percent; null for a measurement")
    high: Number | None = Field(None, description="upper end")


class ArmBand(JsonBlock):
    """What was measured of an arm, and its forecast."""

    measured: list[At] = Field(description="by scale, ascending")
    band: list[At] = Field([], description="to the target; empty where the baseline has too few scales. Of arms from the largest scale on")
    way: list[OnTheWay] = Field([], description="where its pilots stood before their end; empty where results hold no evaluations")


class Pilot(JsonBlock):
    """More runs of every arm, and what they would be worth."""

    what: str = Field(description="in words")
    flops: float = Field(description="that they cost together")
    changes: float = Field(description="probability that another arm would be chosen after them")
    worth: float = Field(description="by how much they lower the expected loss of what is chosen, as a share")


class ForecastResult(OrderResult):
    """The order of arms at the target, bands of their metric, and what more pilots are worth."""

    metric: str = Field(description="that is forecast")
    unit: str = Field("", description="of the metric")
    better: str = Field("lower", description="lower or higher")
    bands: dict[str, ArmBand] = Field({}, description="by arm")
    pilots: list[Pilot] = Field([], description="that might be flown, the cheapest first")
    advice: str = Field("", description="what to do, in one sentence")


@dataclass(frozen=True)
class _Runs:
    """Finished runs of all studies, as arrays."""

    names: list[str]
    arm: np.ndarray
    flops: np.ndarray  # of the baseline at the same budget
    value: np.ndarray
    seed: np.ndarray


def forecast(results: Sequence[StudyResult | Mapping[str, Any]], flops: float) -> ForecastResult:
    """Which arm will be ahead at ``flops``, from studies of the same arms at several scales.

    Args:
        results: of studies or papers on one text by one metric.
        flops: of the run that is to be decided.

    Raises:
        UserError: for studies on several texts or by several metrics, arms flown at fewer than two scales in common, scales of which every
            run failed, or a target below the ladder.
    """
    read = [as_result(result) for result in results]
    told: list[str] = []
    about = _same(read)
    runs = _gather(read, told)
    place = scales(np.log(runs.flops))
    common = [s for s in range(place.max() + 1) if len(set(runs.arm[place == s])) == len(runs.names)]
    common.sort(key=lambda s: float(runs.flops[place == s].mean()))
    if len(common) < 2:
        largest = float(runs.flops.max())
        raise UserError(
            f"the arms have {len(common)} budget{'s' * (len(common) != 1)} in common, so nothing tells how differences grow; fly the study "
            f"again at {largest / 4:.2g} and {largest * 4:.2g} FLOPs, or in the next section, and give all results"
        )
    at = np.log([runs.flops[place == s].mean() for s in common])
    if not np.isfinite(flops) or np.log(max(flops, 1e-300)) < at[0] - np.log(1.05):
        raise UserError(f"the target of {flops:.3g} FLOPs lies below the ladder, which begins at {np.exp(at[0]):.3g}; give a larger target")
    kept = np.isin(place, common)
    sign = 1.0 if about.study.better == "lower" else -1.0
    y = sign * np.log(runs.value[kept])
    scale = np.array([common.index(s) for s in place[kept]])
    beyond = float(np.log(flops) - at[-1])
    told += doubts(beyond, len(common), dict(enumerate(at)), scale, runs.arm[kept], len(runs.names))
    told += not_monotone(y, scale, dict(enumerate(at)))
    cells = gather(y, runs.arm[kept], scale, at - at[-1], runs.seed[kept])
    last = [float(y[(scale == scale.max()) & (runs.arm[kept] == number)].mean()) for number in range(len(runs.names))]
    facts = {"target": flops, "largest": float(np.exp(at[-1])), "points": len(y), "scales": len(common)}
    drawn = Posterior.of(cells, beyond).draw()
    order = ranked(runs.names, BASELINE, drawn, last, told, **facts)
    pilots = _pilots(cells, beyond, float(np.exp(at[-1])), len(runs.names))
    bands = _bands(runs, cells, drawn, sign, flops, at[-1], order.warnings)
    for name, one in bands.items():
        one.way = on_the_way(read, name, about.study.metric)
    return ForecastResult(
        **dict(order),
        metric=about.study.metric,
        unit=about.study.unit,
        better=about.study.better,
        bands=bands,
        pilots=pilots,
        advice=_advice(order.arms, BASELINE, pilots),
    )


def _same(results: Sequence[StudyResult]) -> StudyResult:
    """One of ``results``. Raises UserError where they cannot be compared."""
    metrics = sorted({result.study.metric for result in results})
    if len(metrics) != 1 or not metrics[0]:
        raise UserError(f"the results have several metrics ({', '.join(metrics)}) or none; a forecast is of one")
    texts = {result.stream.fingerprint for result in results}
    per_byte = "byte" in metrics[0] or "byte" in results[0].study.unit
    if len(texts) > 1 and not per_byte:
        raise UserError(
            f"the studies were flown on {len(texts)} streams, and {metrics[0]} of two tokenizers are in two units; fly all scales with one "
            "tokenizer, or judge by bits per byte"
        )
    first = {(row.source, row.what): (row.documents, row.bytes) for row in results[0].corpus}
    for result in results[1:]:
        if {(row.source, row.what): (row.documents, row.bytes) for row in result.corpus} != first:
            raise UserError(f"{result.study.name}: was flown on other documents than {results[0].study.name}; a forecast is of one corpus")
    return results[0]


def _gather(results: Sequence[StudyResult], told: list[str]) -> _Runs:
    """The finished runs of arms that every study has. Scales where every run of an arm failed are named."""
    shared = [name for name in results[0].recipes or results[0].arms if name != BASELINE]
    shared = [name for name in shared if all(name in (result.recipes or result.arms) for result in results)]
    lost = sorted({name for result in results for name in result.arms} - set(shared))
    if lost:
        told.append(f"{', '.join(lost)}: not flown in every study; left out. Fly every arm at the same budgets")
    names = [BASELINE, *shared]
    if len(names) < 2:
        raise UserError("the studies have no arm in common; a forecast compares arms that were flown at several scales")
    rows: list[tuple[int, float, float, int]] = []
    for result in results:
        multiples = sorted({run.multiple for run in result.runs})
        for multiple in multiples:
            here = [run for run in result.runs if run.multiple == multiple and run.arm in names]
            spent = [run.totals.flops for run in here if run.arm == BASELINE and run.finished and run.totals.flops]
            if not spent:
                told.append(f"{result.study.name}: no baseline finished at {multiple:g} budgets; fly it at a lower rate")
                continue
            for name in {run.arm for run in here}:
                mine = [run for run in here if run.arm == name]
                values = [(run.test.get(result.study.metric), run.seed) for run in mine if run.finished]
                good = [(value, seed) for value, seed in values if value is not None and np.isfinite(value) and value > 0]
                if not good:
                    told.append(
                        f"{result.study.name}: every run of {name} failed at {float(np.mean(spent)):.3g} FLOPs; fly it at a lower rate"
                    )
                rows += [(names.index(name), float(np.mean(spent)), value, seed) for value, seed in good]
        if result.study.race:
            told.append(f"{result.study.name} was a race: arms that it stopped early have biased means; fly those again with fixed seeds")
    if not rows:
        raise UserError("no run has finished; fly the studies first")
    arm, flops, value, seed = (np.array(column) for column in zip(*rows, strict=True))
    return _Runs(names, arm.astype(int), flops, value, seed)


# What more pilots are worth -----------------------------------------------------------------------------------------------------------


def _pilots(cells: Cells, beyond: float, largest: float, arms: int) -> list[Pilot]:
    """More seeds at the largest scale, or a larger scale below the target."""
    options = [(0.0, f"{MORE} more seeds at {largest:.2g} FLOPs")]
    options += [(float(np.log(k)), f"{MORE} seeds at {k * largest:.2g} FLOPs") for k in STEPS if np.log(k) <= beyond + 1e-9]
    found = []
    for place, what in options:
        changes, worth = _worth(Posterior.of(cells, beyond, place), MORE)
        found.append(Pilot(what=what, flops=arms * MORE * largest * float(np.exp(place)), changes=changes, worth=worth))
    return found


def _worth(posterior: Posterior, seeds: int) -> tuple[float, float]:
    """The probability of another choice after ``seeds`` runs of every arm at the second place, and the loss that they save."""
    arms = posterior.arms
    first, second = slice(arms), slice(arms, 2 * arms)
    middle = posterior.weight @ posterior.mean[:, first]
    now = int(middle.argmin())
    random = np.random.default_rng(0)
    after = []
    for number, times in enumerate(random.multinomial(DRAWS, posterior.weight)):
        if not times:
            continue
        whole = posterior.covariance[number]
        seen = whole[second, second] + np.eye(arms) * posterior.noise[number] ** 2 / seeds + 1.0  # the common curve is not known there
        gain = np.linalg.solve(seen, whole[first, second].T).T
        shift = random.multivariate_normal(np.zeros(arms), gain @ whole[first, second].T, size=times, method="eigh")
        after.append(middle + shift)
    told = np.concatenate(after)
    told = told - told.mean(axis=0) + middle  # what is expected of what will be known is what is known
    return float((told.argmin(axis=1) != now).mean()), max(float((told[:, now] - told.min(axis=1)).mean()), 0.0)


def _advice(arms: Mapping[str, ArmForecast], baseline: str, pilots: Sequence[Pilot]) -> str:
    first = next(iter(arms))
    leads = "the baseline leads" if first == baseline else f"{first} leads"
    chance = arms[first].best
    useful = [pilot for pilot in pilots if pilot.changes >= MATTERS]
    if chance >= 0.95 or not useful:
        return f"{leads} with probability {chance:.2f}, and more pilots would hardly change the choice."
    best = max(useful, key=lambda pilot: pilot.worth / pilot.flops)
    return (
        f"{leads} with probability {chance:.2f}; {best.what} ({best.flops:.2g} FLOPs together) would change the choice with probability "
        f"{best.changes:.2f} and save {best.worth:.2%} of the loss on average."
    )


# Bands --------------------------------------------------------------------------------------------------------------------------------


def _bands(runs: _Runs, cells: Cells, drawn: np.ndarray, sign: float, flops: float, largest: float, told: list[str]) -> dict[str, ArmBand]:
    """Measured means, and bands from the smallest scale to the target: the baseline's law of compute and the difference upon it."""
    measured = {}
    place = scales(np.log(runs.flops))
    for number, name in enumerate(runs.names):
        mine = [(s, runs.arm == number) for s in sorted(set(place), key=lambda s: float(runs.flops[place == s].mean()))]
        rows_ = [(place == s) & own for s, own in mine]
        means = [At(flops=float(runs.flops[one].mean()), value=float(runs.value[one].mean())) for one in rows_ if one.any()]
        measured[name] = ArmBand(measured=means)
    base = runs.arm == 0
    if len(set(place[base])) < 3:
        told.append("the baseline has two scales alone, so no band of its loss is drawn; fly a third, or give `curve` more multiples")
        return measured
    if base.sum() < RUNS_FOR_BAND * len(COMPUTE.names):
        told.append(
            f"the baseline has {base.sum()} runs, too few to tell how far its law may be wrong: no band is drawn; fly more seeds or scales"
        )
        return measured
    if sign < 0:
        told.append("no band is drawn of a metric of which more is better: the law of compute is one of losses")
        return measured
    x = np.exp(np.linspace(np.log(runs.flops.min()), np.log(max(flops, runs.flops.max())), PLACES))
    x = np.sort(np.append(x, [np.exp(largest), flops]))
    curve = foretell(COMPUTE, {"C": runs.flops[base]}, runs.value[base], {"C": x})
    random = np.random.default_rng(1)
    now = Posterior.of(cells, 0.0).draw(DRAWS)
    then = drawn[random.permutation(len(drawn))[:DRAWS]]
    level = curve.middle + random.standard_t(4, (DRAWS, 1)) * curve.spread
    share = np.clip((np.log(x) - largest) / max(np.log(flops) - largest, 1e-9), 0, 1)
    for number, name in enumerate(runs.names):
        apart = (now[:, number] - now[:, 0])[:, None] * (1 - share) + (then[:, number] - then[:, 0])[:, None] * share
        low, middle, high = np.exp(np.percentile(level + apart, [BAND[0], 50, BAND[1]], axis=0))
        rows = zip(x, middle, low, high, strict=True)
        # Below the largest scale an arm is measured; its difference is not the same there.
        shown = [At(flops=float(at), value=float(m), low=float(a), high=float(b)) for at, m, a, b in rows]
        measured[name].band = shown if number == 0 else [one for one in shown if np.log(one.flops) >= largest - 0.01]
    return measured


def expected(result: ForecastResult, name: str) -> Bounds | None:
    """The metric of an arm at the target, with its band of 80 percent; None where no band could be drawn."""
    there = [one for one in result.bands[name].band if abs(np.log(one.flops / result.target)) < 0.01]
    if not there or there[0].low is None or there[0].high is None:
        return None
    return Bounds(value=there[0].value, low=there[0].low, high=there[0].high)
