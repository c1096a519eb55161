"""A race: seeds are flown in groups, and after each group only for the arms whose verdict is still open.

What each look says is a pure function of the values of the seeds up to it, in their order, so a study that goes on after an interruption
comes to the same looks. The statistics are those of ``statistics/sequential.py``.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from windtunnel.study.seeds import Race
from windtunnel.study.statistics.compare import Interval, adjusted_confidence, compare, interval, verdict
from windtunnel.study.statistics.margin import margin_share
from windtunnel.study.statistics.sequential import Noise, agrees, boundary, chance, repeated_confidence, repeated_interval

LEAST_CHANCE = 0.15  # of a verdict by the last look; below it an arm is given up

Values = Mapping[int, float]  # by seed


@dataclass(frozen=True)
class Standing:
    """Where an arm stands."""

    block: dict[str, Any]  # as that of an arm in what ``compare`` returns, its intervals repeated ones
    looks: tuple[dict[str, Any], ...]
    planned: int  # how many seeds it needs, as far as is known
    open: bool  # whether a look is still to come
    stopped: Literal["decided", "hopeless"] | None  # before the most seeds


def standing(
    race: Race,
    name: str,
    arm: Values,
    curve: Mapping[float, Values],
    *,
    settled: int,
    arms: int,
    confidence: float,
    margin: float | None,
    better: str = "lower",
    spent: Mapping[float, float] | None = None,
) -> Standing:
    """What the looks at arm ``name`` have said so far.

    Args:
        arm: the metric of its finished runs.
        curve: that of the baseline's by multiple of the budget; multiple 1 is what the arm is compared with.
        settled: for how many of the seeds, in order, every run of the arm and of the baseline has finished or failed.
        arms: how many arms the study has; their intervals hold together with ``confidence``, all looks included.
        margin: as a share of the baseline's value; None reads it from the curve as it is at each look.
        better, spent: as :func:`windtunnel.study.statistics.compare.compare`.
    """
    each = adjusted_confidence(confidence, arms)

    def compared(seeds: int, level: float) -> dict[str, Any]:
        first = {multiple: _first(values, seeds) for multiple, values in curve.items()}
        share = margin if margin is not None else margin_share(first, better, spent)[0]
        return compare(first, {name: _first(arm, seeds)}, confidence=level, margin=share, better=better, spent=spent)

    looks: list[dict[str, Any]] = []
    block = _without_interval(compared(race.least, each)["arms"][name])
    for planned in race.looks:
        if planned > settled:
            return Standing({**block, "verdict": None, "required_seeds": None}, tuple(looks), planned, True, None)
        own, reference = _first(arm, planned), _first(curve.get(1, {}), planned)
        differences = [own[seed] - reference[seed] for seed in sorted(own.keys() & reference.keys())]
        counts = [look["seeds"] for look in looks]
        if len(differences) < 2 or len(differences) in counts:
            if not own or not reference:  # every run failed: more of them would only cost
                return Standing(block, (), planned, False, None)
            continue
        counts.append(len(differences))
        found = compared(planned, repeated_confidence(counts, race.most, each))
        looks.append(_look(race, differences, counts, race.most - planned, found["margin"], each, better))
        now = {key: looks[-1][key] for key in ("low", "high", "verdict")}
        block = {**found["arms"][name], **now}
        if now["verdict"] != "undecided":
            block["required_seeds"] = None
        if (stopped := _stopped(looks[-1])) and planned < race.most:
            return Standing(block, tuple(looks), planned, False, stopped)
    return Standing(block, tuple(looks), race.most, False, None)


def _look(
    race: Race, differences: Sequence[float], counts: Sequence[int], left: int, margin: float, confidence: float, better: str
) -> dict[str, Any]:
    """What a look says; ``left`` seeds may still come."""
    noise = Noise(race.noise.sd, race.noise.freedom) if race.noise else None
    agreed = noise if noise and agrees(interval(differences, confidence).sd, len(differences), noise) else None
    found = repeated_interval(differences, counts, race.most, confidence, agreed)
    return {
        "seeds": found.n,
        "difference": found.mean,
        "low": found.low,
        "high": found.high,
        "verdict": verdict(found, margin, better),
        "chance": _chance(race, found, counts, left, margin, confidence, agreed.freedom if agreed else 0.0) if left else None,
        "prior": agreed is not None if noise else None,
    }


def _chance(race: Race, found: Interval, counts: Sequence[int], left: int, margin: float, confidence: float, freedom: float) -> float:
    """The chance of a verdict at the last look, if every seed that is left finishes."""
    coming = [*range(found.n + race.least, found.n + left, race.least), found.n + left]
    last = boundary([*counts, *coming], race.most, confidence, freedom)
    return chance(found, coming[-1], last * found.sd / math.sqrt(coming[-1]), margin, found.n - 1 + freedom)


def _stopped(look: Mapping[str, Any]) -> Literal["decided", "hopeless"] | None:
    if look["verdict"] != "undecided":
        return "decided"
    return "hopeless" if look["chance"] is not None and look["chance"] < LEAST_CHANCE else None


def _first(values: Values, seeds: int) -> dict[int, float]:
    """The values of the first seeds; a race numbers them from 0."""
    return {seed: value for seed, value in values.items() if seed < seeds}


def _without_interval(block: Mapping[str, Any]) -> dict[str, Any]:
    """Before there has been a look there is no interval that would hold after others."""
    gain = dict.fromkeys(block["compute_gain"])
    return {**block, "low": None, "high": None, "compute_gain": gain}


def repeated(race: Race | None, seeds: Collection[int], confidence: float) -> float:
    """The confidence at which Student's interval over ``seeds`` holds at ``confidence`` with those of all looks before; of no race, itself.

    It is for numbers that the race does not rest on: they too were seen when it was decided to stop.
    """
    counts = [sum(seed < planned for seed in seeds) for planned in race.looks] if race else []
    looks = [count for count in dict.fromkeys(counts) if count > 1]
    return repeated_confidence(looks, race.most, confidence) if race and looks else confidence


def widest(race: Race | None, confidence: float) -> float:
    """The confidence of the first look, which makes an interval of any later one wide enough; of no race, ``confidence``."""
    return repeated_confidence([race.least], race.most, confidence) if race else confidence
