"""A report and its tables as Markdown."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from windtunnel.report.expectations import expected
from windtunnel.report.fairness import warnings
from windtunnel.report.rates import sentences
from windtunnel.report.reading import Reading
from windtunnel.report.tables import Table, every, failures
from windtunnel.study.result import StudyResult


def escaped(text: Any, *, whole: bool = True) -> str:
    """``text`` as Markdown that shows it literally, on one line. A piece of a line (not ``whole``) keeps the spaces at its ends."""
    text = str(text) if not whole else " ".join(str(text).split())
    text = re.sub(r"([\\`*_\[\]|~#])", r"\\\1", text)
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def code(text: Any) -> str:
    """``text`` as Markdown code that may stand in a table."""
    plain = " ".join(str(text).split()).replace("|", "\\|")
    fence = "``" if "`" in plain else "`"
    space = " " if fence == "``" else ""
    return f"{fence}{space}{plain}{space}{fence}"


def table_of(columns: Sequence[str], rows: Sequence[Sequence[str]], words: frozenset[int]) -> str:
    """A Markdown table of cells that are Markdown already; numbers stand right."""
    align = [":--" if index in words else "--:" for index in range(len(columns))]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (columns, align, *rows))


def cells(table: Table) -> str:
    """``table`` as Markdown, without its title and its note."""
    return table_of([escaped(column) for column in table.columns], [[escaped(cell) for cell in row] for row in table.rows], table.words)


def markdown(result: StudyResult | Mapping[str, Any]) -> str:
    """The report as Markdown: the verdicts in words, the warnings, every table."""
    reading = Reading(result)
    blocks = [f"# {escaped(reading.study.name or 'study')}"]
    if early := reading.early():
        blocks.append(escaped(early))
    error = reading.result.error
    if error:
        blocks.append(f"**{escaped(error)}**")
    if not reading.finished:
        blocks.append("**The study is not finished: this is what it says so far.**")
    if not reading.arms:
        blocks.append("No arm was flown: there is only a baseline.")
    blocks.append("\n".join(f"- **{escaped(name)}** {escaped(reading.sentence(name))}" for name in reading.ranked()))
    blocks += [escaped(line) for line in sentences(reading)]
    blocks.append(escaped(" ".join([*reading.honesty(), reading.multiplicity()])))
    blocks.append("\n".join(f"> Warning: {escaped(line)}\n>" for line in warnings(reading)).rstrip(">\n"))
    claims = expected(reading)
    for table in [*([claims] if claims.rows else []), *every(reading)]:
        blocks += [f"## {escaped(table.title)}", cells(table), escaped(table.note)]
    failed = [f"- {escaped(line)}" for line in failures(reading)]
    if failed:
        blocks.append("## Failed runs\n\n" + "\n".join(failed))
    return "\n\n".join(block for block in blocks if block) + "\n"
