"""The table of what a paper leads us to expect, for the report, the terminal, the atlas and the documentation."""

from __future__ import annotations

import math

from windtunnel.report.reading import Reading
from windtunnel.report.tables import Table
from windtunnel.report.words import DASH, finite, percent, signed
from windtunnel.study.paper_result import Finding, Improvement, PaperResult


def expected(reading: Reading) -> Table:
    """What a paper leads us to expect, and what was measured of it; an end of an interval that is not known is left open."""
    found = reading.result.expectations if isinstance(reading.result, PaperResult) else []
    rows = [_of_law(entry) if entry.law else _of_arm(entry) for entry in found]
    kinds = {bool(entry.law) for entry in found}
    first, last = {True: ("law", "number"), False: ("arm", "improvement")}[True in kinds] if len(kinds) < 2 else ("arm or law", "measured")
    columns = (first, "expected", "in", last, "verdict", "note")
    arms = f"Above zero is better; {reading.confidence} intervals over seeds. " if False in kinds else ""
    note = f"{arms}An expectation is reproduced if its whole interval fulfils it."
    return Table("What the paper leads us to expect", columns, rows, frozenset({0, 1, 2, 4, 5}), note if rows else "")


def improved(entry: Finding) -> str:
    """The improvement of an arm with its interval. Beyond ten times what a rival about zero has, the means say more than their share."""
    mean, low, high = (finite(value) for value in (entry.improvement.mean, entry.improvement.low, entry.improvement.high))
    if mean is None:
        return DASH

    def shown(value: float | None) -> str:
        return "…" if value is None else percent(value) if entry.relative else signed(value)

    sides = [math.fsum(side.values()) / len(side) for side in entry.values.values() if side]
    first = " against ".join(f"{side:.3g}" for side in sides) if entry.relative and abs(mean) > 10 and len(sides) == 2 else shown(mean)
    return f"{first} ({shown(low)} to {shown(high)})"


def _of_arm(entry: Finding) -> tuple[str, ...]:
    limit = f"{100 * entry.by:g}%" if entry.relative else f"{entry.by:g}"
    margin = f" by {'at most' if entry.relation == 'not-worse' else 'more than'} {limit}" if entry.by else ""
    relation = "worse" if entry.relation == "not-worse" and entry.by else entry.relation.replace("-", " ")
    return (
        entry.arm,
        f"{relation}{margin} than {entry.rival}",
        entry.metric.replace("_", " "),
        improved(entry),
        entry.verdict,
        entry.note or DASH,
    )


def _of_law(entry: Finding) -> tuple[str, ...]:
    low, high = entry.between or (None, None)
    said = f"at most {high:g}" if low is None else f"at least {low:g}" if high is None else f"{low:g} to {high:g}"
    return (entry.law, said, entry.number.replace("_", " "), law_number(entry.improvement), entry.verdict, entry.note or DASH)


def law_number(found: Improvement) -> str:
    """A number of a law, with its interval where it has one."""
    mean, low, high = (finite(end) for end in (found.mean, found.low, found.high))
    if mean is None:
        return DASH
    ends = [("…" if end is None else f"{end:.4g}") for end in (low, high)]
    return f"{mean:.4g}" if low == mean == high else f"{mean:.4g} ({ends[0]} to {ends[1]})"
