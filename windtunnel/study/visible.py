"""How small a difference a study would see: from the noise of its own finished runs, or from that of its section's baselines."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from windtunnel.recipe import Recipe
from windtunnel.study.entry import Entry
from windtunnel.study.prior import noise_of_section
from windtunnel.study.result import BASELINE
from windtunnel.study.section import levels
from windtunnel.train.record import RunRecord

CHANCE = 0.8  # with which a difference of that size gets a verdict


class Scatter(NamedTuple):
    """Standard deviation, between seeds, of the difference of two runs, as a share of the baseline's value; how many freedoms it has."""

    share: float
    freedom: int
    source: str


def noise_of(flown: Sequence[tuple[Entry, RunRecord]], primary: str | None = None) -> Scatter | None:
    """The noise of finished runs: of what arms differ from the baseline by, seed by seed. None where no arm has two pairs."""
    values: dict[str, dict[int, float]] = {}
    for entry, record in flown:
        value = record.test.get(primary or record.primary or "")
        if entry.multiple == 1.0 and entry.rate == 1.0 and value:
            values.setdefault(entry.arm, {})[entry.seed] = float(value)
    base, squares, freedom = values.pop(BASELINE, {}), 0.0, 0
    for arm in values.values():
        differences = [(arm[seed] - base[seed]) / base[seed] for seed in arm.keys() & base.keys()]
        if len(differences) > 1:
            squares += statistics.variance(differences) * (len(differences) - 1)
            freedom += len(differences) - 1
    return Scatter(math.sqrt(squares / freedom), freedom, "this study's finished runs") if freedom and squares > 0 else None


def noise_before(name: str | None, recipe: Recipe, tokens_per_parameter: float) -> Scatter | None:
    """What the committed baselines of the section ``name`` say of a study whose baseline is ``recipe``; None without records."""
    known = noise_of_section(name, recipe)
    if known is None or name is None:
        return None
    nearest = min(levels(name), key=lambda level: abs(math.log(level.tokens_per_parameter / tokens_per_parameter)))
    return Scatter(known.sd / nearest.mean, round(known.freedom), known.source)


def smallest_visible(noise: float, seeds: int, confidence: float) -> float | None:
    """The difference that ``seeds`` pairs tell from nothing with a chance of :data:`CHANCE`; None for less than two.

    ``noise`` is the standard deviation of one pair's difference, ``confidence`` that of the interval.
    """
    from scipy import stats

    if seeds < 2:
        return None
    beyond = stats.t.ppf((1 + confidence) / 2, seeds - 1) + stats.t.ppf(CHANCE, seeds - 1)
    return float(beyond * noise / math.sqrt(seeds))


def told(check: Mapping[str, object]) -> str:
    """What ``visible`` of a check says, in a sentence."""
    found = check["visible"]
    if check["seeds"] == 1:
        return "with one seed no difference can be told from the noise of seeds; two are the least"
    if not isinstance(found, Mapping):
        return "how small a difference would be seen is not known yet: the noise of seeds is known once some runs are finished"
    where, amount = f"section {found['section']}, " if found["section"] else "", 100 * found["share"]
    seen = f"differences of {amount:.2g} % or more would get a verdict in four studies of five"
    return f"{where}{check['seeds']} seeds: {seen} (by the noise of {found['source']})"
