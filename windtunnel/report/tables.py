"""The tables of a report as plain data.

Every table is made once, as a ``Table`` of strings, and written three times: ``markup`` as Markdown, ``screen`` for the terminal,
``document`` as HTML. So the three always say the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from windtunnel.report.reading import Reading
from windtunnel.report.turns import turns
from windtunnel.report.words import (
    DASH,
    count,
    duration,
    finite,
    gain,
    gain_interval,
    listing,
    number,
    plural,
    scientific,
    signed,
    storage,
    times,
)
from windtunnel.study.result import BASELINE, Arm, Costs, Estimate, Transfer, Tuning


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
    rows: list[tuple[str, ...]] = []
    base, documents = reading.baseline, reading.over_documents()
    if base.model_fields_set:
        rows.append(
            (
                BASELINE,
                "reference",
                number(base.test.mean, reading.digits),
                *([DASH] if documents else []),
                DASH,
                DASH,
                DASH,
                DASH,
                "1.00" if base.seeds else DASH,
                "1.00" if base.seeds else DASH,
                number(base.seeds, 0),
            )
        )
    for name in reading.ranked():
        arm, test, digits = reading.arms[name], reading.arms[name].test, reading.figures(name)
        rows.append(
            (
                name,
                str(arm.verdict or "no verdict yet"),
                number(test.mean, reading.digits),
                signed(test.difference, digits),
                interval(test, digits),
                *([over_documents(arm, digits)] if documents else []),
                gain(arm.compute_gain),
                gain_interval(arm.compute_gain),
                times(reading.time_ratio(name)),
                times(reading.memory_ratio(name)),
                number(arm.seeds, 0),
            )
        )
    better = "negative is better" if reading.lower_is_better else "positive is better"
    level, direction = reading.confidence, "lower" if reading.lower_is_better else "higher"
    return Table(
        f"Verdicts ({reading.deciding}{'' if reading.trains_nothing else ' on the test split'}, {direction} is better)",
        (
            *("arm", "verdict", "mean", "difference", f"{level} interval"),
            *(["over documents, interval"] if documents else []),
            *("compute gain", "interval", "CPU time" if reading.cpu_known else "time", "memory", "seeds"),
        ),
        rows,
        frozenset({0, 1}),
        f"Difference: arm minus baseline; {better}. Compute gain: how many times the arm's compute the baseline needs to reach the arm's "
        "score; ≥ and ≤ mark a bound, where it lies beyond the budgets that the baseline was flown at. "
        + ("CPU time: seconds of all threads, which other work hardly changes" if reading.cpu_known else "Time: wall clock")
        + ", and memory: peak, both over those of the baseline; a dash where runs of one arm differ in it as much as arms do."
        + (" Over documents: the interval if other documents had been held out, with these runs." if documents else ""),
    )


def over_documents(arm: Arm, digits: int) -> str:
    """The interval over documents, a dash where there is none."""
    return interval(Estimate(low=arm.over_documents.low, high=arm.over_documents.high), digits) if arm.over_documents else DASH


def looks(reading: Reading) -> Table:
    """What every look at a race said of each arm; without rows where seeds were fixed."""
    rows = []
    for name in reading.ranked():
        for look in reading.arms[name].looks:
            chance, digits = finite(look.chance), reading.figures(name)
            said = look.verdict or DASH
            shown = f"{chance:.0%}" if chance is not None and said == "undecided" else DASH
            difference = signed(look.difference, digits)
            rows.append((name, number(look.seeds, 0), difference, interval(look, digits), said, shown))
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


def interval(test: Estimate, digits: int) -> str:
    """``−0.40 to −0.22``, a dash where there is none."""
    if finite(test.low) is None and finite(test.high) is None:
        return DASH
    return f"{signed(test.low, digits)} to {signed(test.high, digits)}"


def costs(reading: Reading) -> Table:
    """What a run of each arm cost: FLOPs, tokens, epochs, time, memory, parameters; with warnings on repetition.

    Effective FLOPs stand there where a structure makes them others.
    """
    rows, other = [], reading.unit_name != "token"
    arms = (BASELINE, *reading.ranked())
    sparse = any(reading.costs(name).effective_flops != reading.costs(name).flops for name in arms)
    for name in arms:
        spent = reading.costs(name)
        reference = 1.0 if name == BASELINE and reading.runs_of(BASELINE) else None
        known = name in reading.arms
        ratio, memory = (reading.time_ratio(name), reading.memory_ratio(name)) if known else (reference, reference)
        rows.append(
            (
                name,
                scientific(spent.flops),
                *([scientific(spent.effective_flops)] if sparse else []),
                count(spent.tokens),
                exposure(spent),
                count(spent.unique_tokens),
                storage(spent.bytes),
                ", ".join(f"{source} {number(value, 2)}" for source, value in spent.epochs.items()) or DASH,
                duration(spent.cpu_seconds if reading.cpu_known else spent.seconds),
                times(ratio),
                storage(spent.peak_memory_bytes),
                times(memory),
                parameters(spent),
            )
        )
    return Table(
        "What each arm cost (mean of its runs)",
        (
            "arm",
            "FLOPs",
            *(["effective FLOPs"] if sparse else []),
            reading.positions,
            f"{reading.positions} per parameter",
            f"unique {reading.unit_name}s",
            "bytes",
            "epochs over",
            "CPU time" if reading.cpu_known else "time",
            "time ratio",
            "memory",
            "memory ratio",
            "parameters",
        ),
        rows,
        frozenset({0, 6 + sparse}),
        "FLOPs are counted on the real step and include teachers, scoring and discarded work. "
        + ("Effective FLOPs are what hardware that exploits sparsity would execute. " if sparse else "")
        + f"{reading.positions.capitalize()} per parameter: of the weights in the matrices of the blocks; pre-training has 20 to several "
        "thousand. Epochs: how often each source was read; below one, no document was seen twice."
        + (" Positions: what the model computes one by one, as tokens are in text: patches, cells, nodes or steps." if other else ""),
    )


def exposure(arm: Costs) -> str:
    """Tokens per parameter of the blocks, and per active one where these are fewer."""
    whole, active = arm.tokens_per_parameter, arm.tokens_per_active_parameter
    if whole is None:
        return DASH
    return f"{whole:.3g}" if active is None else f"{whole:.3g} ({active:.3g} of active ones)"


def parameters(arm: Costs) -> str:
    """How many an arm trains at last, and how many of these are not held at zero where that differs."""
    whole, active = arm.parameters, arm.active_parameters
    return count(whole) if active in (None, whole) else f"{count(whole)} ({count(active)} active)"


def trials(reading: Reading) -> Table:
    """The measure on validation of every trial: a row for each arm, a column for each setting."""
    tuning = reading.result.tuning or Tuning()
    rows, settings = [], dict[str, float | None]()
    found: dict[str, dict[str, str]] = {}
    for name, own in tuning.arms.items():
        for trial in own.trials:
            label = ", ".join(f"{value:g}" if finite(value) is not None else str(value) for value in trial.values.values())
            settings[label] = finite(next(iter(trial.values.values()))) if len(trial.values) == 1 else None
            mark = "*" if trial.values == own.chosen else ""
            found.setdefault(name, {})[label] = number(trial.validation, reading.digits) + mark
    for name in (BASELINE, *reading.ranked()):
        if name in found:
            rows.append((name, *(found[name].get(label, DASH) for label in settings)))
    if None not in settings.values():  # also those that widening tried, in the order of their numbers
        rows = [(row[0], *(cell for _, cell in sorted(zip(settings.values(), row[1:], strict=True)))) for row in rows]
        settings = dict(sorted(settings.items(), key=lambda item: item[1] or 0.0))
    knobs = listing(tuning.knobs)
    spent = "the whole budget" if tuning.share == 1.0 else f"{tuning.share:.0%} of the budget"
    note = f"{reading.measure} on validation at each setting of {knobs}, one trial each with {spent}; * was chosen."
    return Table("Tuning", ("arm", *settings), rows, frozenset({0}), note if rows else "")


def others(reading: Reading) -> Table:
    """Every other metric on the test split: the baseline's mean and each arm's difference with its interval."""
    names: dict[str, None] = {}
    for name in reading.ranked():
        names.update(dict.fromkeys(reading.arms[name].numbers))
    if len(sources := {row.source for row in reading.result.corpus}) == 1:  # a number of the only source is the number of all of them
        known = {*names, reading.metric}
        names = {name: None for name in names if not (name.endswith(f"/{min(sources)}") and name.rpartition("/")[0] in known)}
    rows = []
    for metric in names:
        entries = {name: entry for name in reading.ranked() if (entry := reading.arms[name].numbers.get(metric))}
        shown = {name: entry for name, entry in entries.items() if finite(entry.mean) is not None}
        if all(entry.difference == entry.low == entry.high == 0 and (entry.mean or 0) > 1 for entry in shown.values()):
            continue  # a count, such as of questions; a score of 0 or 1 that is the same for every arm is worth telling
        digits = reading.digits
        for name, entry in shown.items():
            rows.append((metric, name, number(entry.mean, digits), signed(entry.difference, digits), interval(entry, digits)))
    return Table(
        f"Other measurements{'' if reading.trains_nothing else ' on the test split'}",
        ("metric", "arm", "mean", "difference", f"{reading.confidence} interval"),
        rows,
        frozenset({0, 1}),
        "These are looked at beside the verdict and decide nothing: with many of them, some differ by chance.",
    )


def transfer_table(reading: Reading) -> Table:
    """What each arm forgot and carried over, and, where the study says what is to be kept, what it kept and gained."""
    block = reading.result.transfer or Transfer()
    axes = block.axes.arms if block.axes else {}
    rows = []
    for name in (BASELINE, *reading.ranked()):
        own, point = block.arms.get(name), axes.get(name)
        if own or point:
            found = [own.forgetting, own.backward, own.forward] if own else [None, None, None]
            found += ([point.kept, point.gained] if point else [None, None]) if axes else []
            cells = [f"{signed(one.mean, 3)} ({interval(one, 3)})" if one else DASH for one in found]
            rows.append((name, *cells, *((("yes" if point.front else "no") if point else DASH,) if axes else ())))
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
        kept = listing(block.kept)
        origin = "the baseline before it went on" if block.axes and block.axes.reference == "start" else "the baseline's end"
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


CURATED = "curator "  # in the name of what a curator removed


def corpus(reading: Reading) -> Table:
    """What was read, skipped, removed and kept; of what was decoded, a line in which that can be seen."""
    rows = []
    for row in reading.result.corpus:
        line = "" if CURATED in row.what else "".join(f", as in {example}" for example in row.examples[:1])
        rows.append((row.source, f"{row.what}{line}", number(row.documents, 0), storage(row.bytes or None)))
    return Table("What was read, skipped and removed", ("source", "what", "documents", "size"), rows, frozenset({0, 1}))


def removed(reading: Reading) -> Table:
    """What curators removed: of every reason some documents."""
    removed = [row for row in reading.result.corpus if CURATED in row.what]
    found = [(row.source, row.what.partition(CURATED)[2], example) for row in removed for example in row.examples]
    title = "Documents that curators removed"
    return Table(title, ("source", "curator and reason", "for example"), found, frozenset({0, 1, 2}))


def runs(reading: Reading) -> Table:
    """Every run that is compared: arm, budget, seed, status, score, cost, folder. What was only tried has tables of its own."""
    rows = []
    for run in reading.runs:
        rows.append(
            (
                run.arm,
                times(run.multiple),
                number(run.seed, 0),
                run.status,
                number(run.test.get(reading.metric), reading.digits + 1),
                scientific(run.totals.flops),
                count(run.totals.tokens),
                duration(run.totals.seconds),
                run.folder or DASH,
            )
        )
    columns = ("arm", "budget", "seed", "status", reading.measure, "FLOPs", "tokens", "time", "folder")
    tried = "Trials of tuning and runs at other rates are not among them; they have tables of their own."
    return Table("Every run", columns, rows, frozenset({0, 3, 8}), tried if reading.result.tuning or reading.result.rates else "")


def every(reading: Reading) -> list[Table]:
    """All tables of a study that have rows, in the order they are read."""
    made = (verdicts, looks, over_rates, transfer_table, pruning_sweep, costs, others, trials, corpus, removed, runs)
    return [table for make in made if (table := make(reading)).rows]


def over_rates(reading: Reading) -> Table:
    """The metric and the spikes of baseline and arms at every learning rate of a check of rates."""
    rows = [
        (
            name,
            times(point.multiple),
            number(point.mean, reading.digits),
            number(point.spikes, 1),
            plural(point.failed, "run") if point.failed else DASH,
            "best" if point.multiple == over.best else DASH,
        )
        for name, over in reading.over_rates().items()
        for point in over.rates
    ]
    return Table(
        f"{'Loss' if reading.lower_is_better else 'Score'} against learning rate",
        ("arm", "times its rates", "mean", "spikes", "failed", "best"),
        rows,
        frozenset({0, 5}),
        "Spikes: how often the training loss of a run jumped above what it was, on average." if rows else "",
    )


def failures(reading: Reading) -> list[str]:
    """A line for each arm and error: ``muon, seeds 0 and 1: FloatingPointError: ...``."""
    grouped: dict[tuple[str, str], list[str]] = {}
    for run in reading.failed_runs():
        grouped.setdefault((run.arm, last_line(run.traceback)[:300]), []).append(str(run.seed))
    return [f"{arm}, seed{'s' if len(seeds) > 1 else ''} {listing(seeds)}: {error}" for (arm, error), seeds in grouped.items()]


def last_line(traceback: str | None) -> str:
    """The last line of a traceback: what went wrong."""
    lines = (traceback or "").strip().splitlines()
    return lines[-1].strip() if lines else "no traceback was recorded"
