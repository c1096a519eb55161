"""A check of rates: does the baseline at another learning rate close the gap, so that what helps is the rate?

The baseline and every arm fly with a few seeds at multiples of their learning rates too. What comes of it is told beside the verdicts and
changes none of them: whoever chose the best rate for one side alone would compare a tuned arm with an untuned baseline.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field, field_validator

from windtunnel.core.settings import Settings, unit
from windtunnel.study.entry import Entry
from windtunnel.study.result import BASELINE
from windtunnel.train.record import RunRecord


class RateCheck(Settings):
    """At which learning rates baseline and arms fly besides their own. In YAML the multiples alone will do."""

    multiples: tuple[float, ...] = Field(description="of every learning rate of a recipe, 1 left out", examples=[[0.5, 2]])
    seeds: int = Field(2, ge=1, description="how many of the first seeds fly at each", examples=[3], json_schema_extra=unit("seeds"))

    @field_validator("multiples")
    @classmethod
    def _others(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if not value or min(value) <= 0 or 1.0 in value or len(set(value)) < len(value):
            raise ValueError("multiples of the learning rate are above 0, none is 1 (which is flown anyway) and none stands there twice")
        return tuple(sorted(value))


def checked(entries: Sequence[Entry], settled: Mapping[str, RunRecord], metric: str, better: str) -> dict[str, Any] | None:
    """What the runs of a study at several learning rates say: the block ``rates`` of its result. None where all fly at their own.

    Args:
        entries: every run of the study.
        settled: the records of those that have ended, by ``Entry.folder``.
    """
    seeds = sorted({entry.seed for entry in entries if entry.rate != 1.0})
    if not seeds:
        return None
    sign = 1.0 if better == "lower" else -1.0
    found: dict[str, dict[float, list[RunRecord | None]]] = {}
    for entry in entries:
        if entry.seed in seeds and entry.multiple == 1.0:
            found.setdefault(entry.arm, {}).setdefault(entry.rate, []).append(settled.get(entry.folder))
    arms = {arm: [_at(rate, runs, metric) for rate, runs in sorted(rates.items())] for arm, rates in found.items()}
    best = {arm: _best(points, sign, len(seeds)) for arm, points in arms.items()}
    return {
        "seeds": seeds,
        "arms": {arm: {"rates": points, "best": one["multiple"] if (one := best[arm]) else None} for arm, points in arms.items()},
        "closed": {arm: share for arm in arms if arm != BASELINE and (share := _closed(arms, best.get(BASELINE), arm, sign)) is not None},
    }


def _at(rate: float, runs: Sequence[RunRecord | None], metric: str) -> dict[str, Any]:
    done = [record for record in runs if record is not None and record.finished]
    values = {record.seed: float(value) for record in done if (value := record.test.get(metric)) is not None and math.isfinite(value)}
    jumps = [record.totals.spikes for record in done if record.totals is not None and record.totals.spikes is not None]
    return {
        "multiple": rate,
        "values": values,
        "mean": math.fsum(values.values()) / len(values) if values else None,
        "spikes": sum(jumps) / len(jumps) if jumps else None,
        "failed": sum(record is not None and record.status == "failed" for record in runs),
    }


def _best(points: Sequence[Mapping[str, Any]], sign: float, seeds: int) -> Mapping[str, Any] | None:
    """The point with the best mean, once every rate has been flown; a rate of which a run failed is none."""
    if any(len(point["values"]) + point["failed"] < seeds for point in points):
        return None
    whole = [point for point in points if not point["failed"]]
    return min(whole, key=lambda point: sign * point["mean"], default=None)


def _values_at_one(points: Sequence[Mapping[str, Any]]) -> dict[int, float]:
    return next((dict(point["values"]) for point in points if point["multiple"] == 1.0), {})


def _closed(arms: Mapping[str, Sequence[Mapping[str, Any]]], best: Mapping[str, Any] | None, arm: str, sign: float) -> float | None:
    """The share of what ``arm`` is better by, at the learning rates of both, that the baseline gains at its best rate instead."""
    own, base = (_values_at_one(arms[name]) for name in (arm, BASELINE))
    if best is None or own.keys() != base.keys() or own.keys() != best["values"].keys():
        return None
    gap, gain = (math.fsum(sign * (base[seed] - values[seed]) for seed in base) for values in (own, best["values"]))
    return gain / gap if gap > 0 else None
