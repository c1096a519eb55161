"""The tables of a report as plain data.

Every table is made once, as a ``Table`` of strings, and written three times: ``markup`` as Markdown, ``screen`` for the terminal,
``document`` as HTML. So the three always say the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from windtunnel.report.turns import turns
from windtunnel.report.words import (
    BASELINE,
    DASH,
    Reading,
    above,
    count,
    duration,
    finite,
    listing,
    mapping,
    number,
    percent,
    scientific,
    several,
    signed,
    storage,
    times,
)


@dataclass(frozen=True)
class Table:
    """Columns, rows of cells, what stands below. A cell is a string; columns in ``words`` are text, the others numbers."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    words: frozenset[int] = frozenset({0})
    note: str = ""


def verdicts(reading: Reading) -> Table:
    """Arm, verdict, mean, difference with interval, compute gain with interval, time and memory ratios, seeds."""
    rows = []
    base = reading.test(BASELINE)
    if reading.baseline:
        rows.append(
            (
                BASELINE,
                "reference",
                number(base.get("mean"), reading.digits),
                DASH,
                DASH,
                DASH,
                DASH,
                "1.00",
                "1.00",
                number(reading.baseline.get("seeds"), 0),
            )
        )
    for name in reading.ranked():
        arm, test = reading.arms[name], reading.test(name)
        rows.append(
            (
                name,
                str(arm.get("verdict") or "no verdict yet"),
                number(test.get("mean"), reading.digits),
                signed(test.get("difference"), reading.digits),
                interval(test, reading.digits),
                gain(arm),
                gain_interval(arm),
                times(arm.get("wall_clock_ratio")),
                times(arm.get("peak_memory_ratio")),
                number(arm.get("seeds"), 0),
            )
        )
    better = "negative is better" if reading.lower_is_better else "positive is better"
    level = reading.confidence
    return Table(
        f"Verdicts ({reading.measure} on the test split, {'lower' if reading.lower_is_better else 'higher'} is better)",
        ("arm", "verdict", "mean", "difference", f"{level} interval", "compute gain", "interval", "time", "memory", "seeds"),
        rows,
        frozenset({0, 1}),
        f"Difference: arm minus baseline; {better}. Compute gain: how many times the arm's compute the baseline needs to reach the arm's "
        "score; ≥ and ≤ mark a bound, where it lies beyond the budgets that the baseline was flown at. Time and memory: wall clock and "
        "peak memory over those of the baseline.",
    )


def looks(reading: Reading) -> Table:
    """What every look at a race said of each arm; without rows where seeds were fixed."""
    rows = []
    for name in reading.ranked():
        for look in map(mapping, several(reading.arms[name].get("looks"))):
            chance, digits = finite(look.get("chance")), reading.digits
            said = str(look.get("verdict") or DASH)
            shown = f"{chance:.0%}" if chance is not None and said == "undecided" else DASH
            difference = signed(look.get("difference"), digits)
            rows.append((name, number(look.get("seeds"), 0), difference, interval(look, digits), said, shown))
    return Table(
        "What each look said",
        ("arm", "seeds", "difference", "repeated interval", "verdict", "chance"),
        rows,
        frozenset({0, 4}),
        "All intervals of an arm hold together. An arm gets no more seeds once its interval decides, or once a verdict by the last look "
        "has become unlikely. The mean of an arm that was stopped is biased: away from zero where it was called."
        if rows
        else "",
    )


def interval(test: Mapping[str, Any], digits: int) -> str:
    """``−0.40 to −0.22``, a dash where there is none."""
    if finite(test.get("low")) is None and finite(test.get("high")) is None:
        return DASH
    return f"{signed(test.get('low'), digits)} to {signed(test.get('high'), digits)}"


def gain(arm: Mapping[str, Any]) -> str:
    """The compute gain, with ≥ or ≤ where it is a bound."""
    stated = mapping(arm.get("compute_gain"))
    value = finite(stated.get("value"))
    if value is None:
        return DASH
    return f"{('≥ ' if above(stated) else '≤ ') if stated.get('bounded') else ''}{times(value)}"


def gain_interval(arm: Mapping[str, Any]) -> str:
    """The interval of the compute gain; an end at the edge of the baseline's curve is marked as open."""
    stated = mapping(arm.get("compute_gain"))
    if finite(stated.get("low")) is None or finite(stated.get("high")) is None:
        return DASH
    lowest, highest = "≤ " if stated.get("low_open") else "", "≥ " if stated.get("high_open") else ""
    return f"{lowest}{times(stated['low'])} to {highest}{times(stated['high'])}"


def costs(reading: Reading) -> Table:
    """What a run of each arm cost: FLOPs, effective FLOPs, tokens, epochs, time, memory, parameters; with warnings on repetition."""
    rows = []
    for name in (BASELINE, *reading.ranked()):
        arm = reading.baseline if name == BASELINE else reading.arms[name]
        reference = 1.0 if name == BASELINE and reading.runs_of(BASELINE) else None
        epochs = reading.epochs(name)
        rows.append(
            (
                name,
                scientific(reading.total(name, "flops")),
                scientific(reading.total(name, "effective_flops")),
                count(reading.total(name, "tokens")),
                ", ".join(f"{source} {number(value, 2)}" for source, value in epochs.items()) or DASH,
                duration(reading.total(name, "seconds")),
                times(arm.get("wall_clock_ratio", reference)),
                storage(reading.total(name, "peak_memory_bytes")),
                times(arm.get("peak_memory_ratio", reference)),
                parameters(arm),
            )
        )
    return Table(
        "What each arm cost (mean of its runs)",
        ("arm", "FLOPs", "effective FLOPs", "tokens", "epochs over", "time", "ratio", "memory", "ratio", "parameters"),
        rows,
        frozenset({0, 4}),
        "FLOPs are counted on the real step and include teachers, scoring and discarded work. Effective FLOPs are what hardware "
        "that exploits sparsity would execute. Epochs: how often each source was read; below one, no text was seen twice.",
    )


def parameters(arm: Mapping[str, Any]) -> str:
    """How many an arm trains at last, and how many of these are not held at zero where that differs."""
    whole, active = arm.get("parameters"), arm.get("active_parameters")
    return count(whole) if active in (None, whole) else f"{count(whole)} ({count(active)} active)"


def warnings(reading: Reading) -> list[str]:
    """What makes a comparison less fair than it looks: data repeated by one side only, other budgets, missing seeds, grids too narrow."""
    lines = []
    base = reading.repeats(BASELINE)
    for name in reading.ranked():
        own = reading.repeats(name)
        if own and not base:
            detail = listing(f"{source} {number(value, 1)} times" for source, value in own.items())
            lines.append(f"{name} repeats data that the baseline sees at most once ({detail}): part of its difference is the repetition.")
        elif base and reading.epochs(name) and not own:
            lines.append(f"The baseline repeats data ({listing(base)}), {name} does not: part of its difference is the repetition.")
        ratio = finite(reading.arms[name].get("budget_ratio"))
        if ratio is not None and abs(ratio - 1) > 0.02:
            lines.append(
                f"{name} spent {times(ratio)} times the baseline's budget: its difference is not at matched compute, its compute gain is."
            )
    if base and all(reading.repeats(name) for name in reading.arms):
        lines.append(f"Every run repeats data ({listing(base)}): do not compare these numbers with those of a study that does not.")
    planned = finite(reading.study.get("seeds"))
    for name in reading.ranked():
        flown = finite(reading.arms[name].get("seeds"))
        planned = finite(reading.arms[name].get("planned")) or planned
        if reading.finished and planned and flown is not None and 0 < flown < planned:
            lines.append(f"{name} has {number(flown, 0)} of {number(planned, 0)} seeds; the missing ones failed and are not replaced.")
    for name, own in mapping(mapping(reading.result.get("tuning")).get("arms")).items():
        for knob, value in mapping(mapping(own).get("chosen")).items():
            trials = [finite(mapping(mapping(row).get("values")).get(knob)) for row in several(mapping(own).get("trials"))]
            tried, chosen = {one for one in trials if one is not None}, finite(value)
            if len(tried) > 1 and chosen in (min(tried), max(tried)):
                end = "lowest" if chosen == min(tried) else "highest"
                lines.append(f"The {knob} chosen for {name}, {chosen:g}, is the {end} that was tried: a better one may lie beyond.")
    return lines


def expected(reading: Reading) -> Table:
    """What a paper leads us to expect, and the improvement that was measured; an end of an interval that is not known is left open."""
    rows = []
    for entry in several(reading.result.get("expectations")):
        relative, improvement, by = entry.get("relative", True), mapping(entry.get("improvement")), finite(entry.get("by")) or 0.0
        shown = {key: percent(value) if relative else signed(value) for key, value in improvement.items() if finite(value) is not None}
        found = f"{shown.get('mean', DASH)} ({shown.get('low', '…')} to {shown.get('high', '…')})"
        limit = f"{100 * by:g}%" if relative else f"{by:g}"
        margin = f" by {'at most' if entry['relation'] == 'not-worse' else 'more than'} {limit}" if by else ""
        relation = "worse" if entry["relation"] == "not-worse" and by else entry["relation"].replace("-", " ")
        said, metric = f"{relation}{margin} than {entry['against']}", entry["metric"].replace("_", " ")
        rows.append((str(entry["arm"]), said, metric, found, str(entry["verdict"]), str(entry.get("note") or DASH)))
    columns = ("arm", "expected", "in", "improvement", "verdict", "note")
    note = (
        f"Above zero is better; {reading.confidence} intervals over seeds. An expectation is reproduced if its whole interval fulfils it."
    )
    return Table("What the paper leads us to expect", columns, rows, frozenset({0, 1, 2, 4, 5}), note if rows else "")


def tuned(reading: Reading) -> Table:
    """The measure on validation of every trial: a row for each arm, a column for each setting."""
    arms = mapping(mapping(reading.result.get("tuning")).get("arms"))
    rows, settings = [], dict[str, None]()
    found: dict[str, dict[str, str]] = {}
    for name, own in arms.items():
        for row in several(mapping(own).get("trials")):
            values = mapping(mapping(row).get("values"))
            label = ", ".join(f"{value:g}" if finite(value) is not None else str(value) for value in values.values())
            settings[label] = None
            mark = "*" if values == mapping(own).get("chosen") else ""
            found.setdefault(name, {})[label] = number(mapping(row).get("validation"), reading.digits) + mark
    for name in (BASELINE, *reading.ranked()):
        if name in found:
            rows.append((name, *(found[name].get(label, DASH) for label in settings)))
    knobs = listing([str(knob) for knob in mapping(mapping(reading.result.get("tuning")).get("knobs"))])
    share = finite(mapping(reading.result.get("tuning")).get("share"))
    spent = "the whole budget" if share in (None, 1.0) else f"{share:.0%} of the budget"
    note = f"{reading.measure} on validation at each setting of {knobs}, one trial each with {spent}; * was chosen."
    return Table("Tuning", ("arm", *settings), rows, frozenset({0}), note if rows else "")


def others(reading: Reading) -> Table:
    """Every other metric on the test split: the baseline's mean and each arm's difference with its interval."""
    names: dict[str, None] = {}
    for name in reading.ranked():
        names.update(dict.fromkeys(map(str, mapping(reading.arms[name].get("numbers")))))
    rows = []
    for metric in names:
        for name in reading.ranked():
            entry = mapping(mapping(reading.arms[name].get("numbers")).get(metric))
            if entry:
                digits = reading.digits
                rows.append(
                    (metric, name, number(entry.get("mean"), digits), signed(entry.get("difference"), digits), interval(entry, digits))
                )
    return Table(
        "Other measurements on the test split",
        ("metric", "arm", "mean", "difference", f"{reading.confidence} interval"),
        rows,
        frozenset({0, 1}),
        "These are looked at beside the verdict and decide nothing: with many of them, some differ by chance.",
    )


def transfer_table(reading: Reading) -> Table:
    """What each arm forgot and carried over, and, where the study says what is to be kept, what it kept and gained."""
    block = mapping(reading.result.get("transfer"))
    measured, axes = mapping(block.get("arms")), mapping(mapping(block.get("axes")).get("arms"))
    rows = []
    for name in (BASELINE, *reading.ranked()):
        own, point = mapping(measured.get(name)), mapping(axes.get(name))
        if own or point:
            found = [mapping(own.get(key)) for key in ("forgetting", "backward", "forward")]
            found += [mapping(point.get(key)) for key in ("kept", "gained")] if axes else []
            cells = [f"{signed(one.get('mean'), 3)} ({interval(one, 3)})" if one else DASH for one in found]
            rows.append((name, *cells, *((("yes" if point.get("front") else "no") if point else DASH,) if axes else ())))
    columns = ("arm", "forgetting", "backward transfer", "forward transfer", *(("kept", "gained", "on the front") if axes else ()))
    # One domain alone has no transfer.
    shown = [place for place in range(len(columns)) if not rows or any(row[place] != DASH for row in rows)]
    columns, rows = tuple(columns[place] for place in shown), [tuple(row[place] for place in shown) for row in rows]
    note = f"{reading.measure} on validation with {reading.confidence} intervals over seeds, each by itself."
    if "forgetting" in columns:
        note += " Forgetting: how much worse sources are at the end than when they had just been learned."
    if any("transfer" in column for column in columns):
        note += " Transfer: how much better than before training went on."
    if axes:
        kept = listing([str(source) for source in several(block.get("kept"))])
        origin = "the baseline before it went on" if mapping(block.get("axes")).get("reference") == "start" else "the baseline's end"
        note += f" Kept ({kept}) and gained (the other sources): change against {origin}, above zero is better."
    return Table("What was kept and what was gained", columns, rows, frozenset({0}), note if rows else "")


def pruning_sweep(reading: Reading) -> Table:
    """The shape that fits each curve best, and its knee."""
    rows = []
    for (arm, name), one in turns(reading).items():
        knee = one["knee"]
        interval = DASH if knee["low"] is None else f"{knee['low']:.0%} to {knee['high']:.0%}"
        half = dict(zip(one["sparsities"], one["loss"], strict=True)).get(0.5)
        shape = one["preferred"].replace("_", " ")
        rows.append((arm, name, shape, f"{knee['value']:.0%}", interval, number(one["loss"][0], 4), number(half, 4), str(one["seeds"])))
    columns = ("arm", "sweep", "best shape", "knee", "interval", "loss unpruned", "loss at 50%", "seeds")
    note = "A knee is one only where the best shape is two pieces; elsewhere it is where two pieces would meet."
    return Table("What can be removed at once", columns, rows, frozenset({0, 1, 2}), note if rows else "")


def corpus(reading: Reading) -> Table:
    """What was read, skipped, removed and kept."""
    rows = [
        (str(row.get("source", "")), str(row.get("what", "")), number(row.get("documents"), 0), storage(row.get("bytes")))
        for row in map(mapping, several(reading.result.get("corpus")))
    ]
    return Table("What was read, skipped and removed", ("source", "what", "documents", "size"), rows, frozenset({0, 1}))


def runs(reading: Reading) -> Table:
    """Every run: arm, budget, seed, status, score, cost, folder."""
    rows = []
    for run in reading.runs:
        totals = mapping(run.get("totals"))
        rows.append(
            (
                str(run.get("arm", "")),
                times(run.get("multiple", 1)),
                number(run.get("seed"), 0),
                str(run.get("status", "")),
                number(mapping(run.get("test")).get(reading.metric), reading.digits + 1),
                scientific(totals.get("flops")),
                count(totals.get("tokens")),
                duration(totals.get("seconds")),
                str(run.get("folder") or DASH),
            )
        )
    return Table(
        "Every run", ("arm", "budget", "seed", "status", reading.measure, "FLOPs", "tokens", "time", "folder"), rows, frozenset({0, 3, 8})
    )


def every(reading: Reading) -> list[Table]:
    """All tables that have rows, in the order they are read."""
    made = (expected, verdicts, looks, transfer_table, pruning_sweep, costs, others, tuned, corpus, runs)
    return [table for make in made if (table := make(reading)).rows]


def failures(reading: Reading) -> list[str]:
    """A line for each arm and error: ``muon, seeds 0 and 1: FloatingPointError: ...``."""
    grouped: dict[tuple[str, str], list[str]] = {}
    for run in reading.failed_runs():
        grouped.setdefault((str(run.get("arm")), last_line(run.get("traceback"))[:300]), []).append(str(run.get("seed")))
    return [f"{arm}, seed{'s' if len(seeds) > 1 else ''} {listing(seeds)}: {error}" for (arm, error), seeds in grouped.items()]


def last_line(traceback: Any) -> str:
    """The last line of a traceback: what went wrong."""
    lines = str(traceback or "").strip().splitlines()
    return lines[-1].strip() if lines else "no traceback was recorded"
