"""A report for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from windtunnel.report.fairness import warnings
from windtunnel.report.rates import sentences
from windtunnel.report.reading import Reading
from windtunnel.report.tables import failures, transfer_table, verdicts
from windtunnel.report.words import DASH
from windtunnel.study.result import StudyResult

COLOURS = {"helps": "green", "hurts": "red", "undecided": "yellow", "no difference": "cyan", "failed": "bold red"}


def terminal(result: StudyResult | Mapping[str, Any]) -> Any:
    """The verdict table, the verdicts in words and the warnings as a rich renderable."""
    from rich.console import Group
    from rich.text import Text

    reading = Reading(result)
    drawn = verdict_table(reading)
    lines: list[Any] = [Text(visible(early), style="yellow")] if (early := reading.early()) else []
    if reading.result.error:
        lines.append(Text(visible(reading.result.error), style="bold red"))
    if not reading.finished:
        lines.append(Text("The study is not finished: this is what it says so far.", style="bold yellow"))
    lines.append(drawn if drawn.row_count else Text("No run has finished yet."))
    for row in (found := transfer_table(reading)).rows:
        said = ", ".join(f"{column} {cell}" for column, cell in zip(found.columns[1:], row[1:], strict=True) if cell != DASH)
        lines.append(Text.assemble((visible(row[0]), "bold"), visible(f": {said}")))
    for name in reading.ranked():
        lines.append(Text.assemble((visible(name), "bold"), " ", visible(reading.sentence(name))))
    lines += [Text(visible(line), style="yellow") for line in sentences(reading)]
    lines += [Text(visible(doubt))] if (doubt := reading.doubt()) else []
    lines += [Text(f"Warning: {visible(line)}", style="yellow") for line in warnings(reading)]
    lines += [Text(visible(f"Failed: {line}"), style="red") for line in failures(reading)]
    return Group(*lines)


NAME = 24  # characters of the name of an arm that stand on one line


def verdict_table(reading: Reading) -> Any:
    """The table of verdicts as a rich one that fits 80 columns: means are left out, and each interval stands below its number."""
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    table = verdicts(reading)
    drawn = RichTable(title=Text(table.title), box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False, padding=(0, 1, 0, 0))
    shown: list[list[int]] = []
    for index, column in enumerate(table.columns):
        if column.endswith("interval"):
            shown[-1].append(index)
        elif column != "mean":
            shown.append([index])
    for first, *below in shown:
        title = "\n".join(table.columns[index] for index in (first, *below))
        whole = first == 0 and max((len(row[0]) for row in table.rows), default=0) <= NAME  # words of others break before a name does
        drawn.add_column(Text(title), justify="left" if first in table.words else "right", overflow="fold", no_wrap=whole)
    for row in table.rows:
        cells = ["\n".join(visible(row[index]) for index in places if index == places[0] or row[index] != "–") for places in shown]
        drawn.add_row(*[Text(cell, style=COLOURS.get(row[1], "") if place == 1 else "") for place, cell in enumerate(cells)])
    return drawn


def visible(text: str) -> str:
    """``text`` without control characters, which could move the cursor or recolour the terminal."""
    return "".join(character if character.isprintable() else "�" for character in text)
