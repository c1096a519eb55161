"""What makes a comparison less fair than it looks."""

from __future__ import annotations

from windtunnel.report.reading import Reading
from windtunnel.report.words import finite, listing, number, scientific, times
from windtunnel.study.result import BASELINE, Tuning

SCATTER = 1.5  # how many times faster one run of an arm may be than another before it is told


def scatter(reading: Reading) -> str:
    """How much the speed of runs of one arm scattered, where that was much. Empty where it was not."""
    found: dict[str, tuple[float, float]] = {}
    for name in (BASELINE, *reading.ranked()):
        rates = [run.totals.flops / run.totals.seconds for run in reading.finished_runs(name) if run.totals.flops and run.totals.seconds]
        if len(rates) > 1:
            found[name] = (min(rates), max(rates))
    name = max(found, key=lambda name: found[name][1] / found[name][0], default="")
    if not name or found[name][1] <= SCATTER * found[name][0]:
        return ""
    slow, fast = found[name]
    advice = "the table compares CPU seconds" if reading.cpu_known else "the times in the table, which are of the clock, say little"
    return (
        f"Runs of {name} did {scientific(slow)} to {scientific(fast)} FLOPs a second, {times(fast / slow)} times as many, as where other "
        f"work shares the machine, or machines differ. So {advice}."
    )


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
        ratio = finite(reading.arms[name].budget_ratio)
        if ratio is not None and abs(ratio - 1) > 0.02:
            lines.append(
                f"{name} spent {times(ratio)} times the baseline's budget: its difference is not at matched compute, its compute gain is."
            )
    if base and all(reading.repeats(name) for name in reading.arms):
        lines.append(f"Every run repeats data ({listing(base)}): do not compare these numbers with those of a study that does not.")
    planned = reading.study.seeds
    for name in reading.ranked():
        flown, wanted = reading.arms[name].seeds, reading.arms[name].planned or planned
        if reading.finished and wanted and 0 < flown < wanted:
            lines.append(f"{name} has {number(flown, 0)} of {number(wanted, 0)} seeds; the missing ones failed and are not replaced.")
    lines += [scattered] if (scattered := scatter(reading)) else []
    for name, tuned in (reading.result.tuning or Tuning()).arms.items():
        for knob, value in (tuned.chosen or {}).items():
            known = [finite(trial.values.get(knob)) for trial in tuned.trials]
            tried, chosen = {one for one in known if one is not None}, finite(value)
            if len(tried) > 1 and chosen in (min(tried), max(tried)):
                end = "lowest" if chosen == min(tried) else "highest"
                lines.append(f"The {knob} chosen for {name}, {chosen:g}, is the {end} that was tried: a better one may lie beyond.")
    return lines
