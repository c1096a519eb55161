"""What each source gives to each: the table of a study that leaves sources out and draws them more often."""

from __future__ import annotations

from windtunnel.report.reading import Reading
from windtunnel.report.tables import Table
from windtunnel.report.words import signed


def sources(reading: Reading) -> Table:
    """An arm a row, a source a column: the difference from the baseline on the test documents of the source, with its interval.

    Below zero is better where less is; the first evaluation has a number for every source.
    """
    result = reading.result
    first = result.study.metric.partition("/")[0]
    columns = [name for name in (*result.baseline.numbers, result.study.metric) if name.startswith(f"{first}/")]
    columns = sorted(dict.fromkeys(columns))
    rows = []
    for name, arm in result.arms.items():
        cells = []
        for column in columns:
            one = arm.test if column == result.study.metric else arm.numbers.get(column)
            if one is None or one.difference is None:
                cells.append("–")
                continue
            interval = "" if one.low is None or one.high is None else f" ({signed(one.low, 3)} to {signed(one.high, 3)})"
            cells.append(f"{signed(one.difference, 3)}{interval}")
        rows.append((name, *cells))
    note = f"Each number is {first.replace('_', ' ')} on the documents of one source, less that of the baseline; below zero is better."
    return Table("What each source gives to each", ("arm", *(column.partition("/")[2] for column in columns)), rows, note=note)
