"""What the data are where they can be shown: images, plots of series, drawings of graphs, cells of rows; what arms made of them."""

from __future__ import annotations

from typing import Any

from windtunnel.report.elements import safe, section
from windtunnel.report.reading import Reading
from windtunnel.study.result import BASELINE

SHOWN = 12  # documents
CELLS = 8  # columns of a table
PIXELS, PLOT = "data:image/png;base64,", "data:image/svg+xml;base64,"  # how addresses of pictures begin that the page itself holds


def of_arms(reading: Reading) -> str:
    """A table with a row for each document: what it is, what is true of it, and what every arm named or drew."""
    written = reading.result.samples
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for name, entries in written.items():
        for entry in entries:
            row = rows.setdefault(
                (entry.source, entry.prompt), {"pictures": entry.pictures, "cells": entry.cells, "truth": entry.truth or "", "arms": {}}
            )
            row["arms"][name] = picture(entry.drawn, name) + safe(entry.continuation or "")
    arms = [name for name in dict.fromkeys((BASELINE, *reading.ranked(), *written)) if any(row["arms"].get(name) for row in rows.values())]
    shown = list(dict.fromkeys(name for row in rows.values() for name in row["pictures"]))
    columns = list(dict.fromkeys(name for row in rows.values() for name in row["cells"]))
    names = ("", *shown, *(["truth"] if any(row["truth"] for row in rows.values()) else []), *arms, *columns[:CELLS])
    head = "".join(f'<th scope="col">{safe(name)}</th>' for name in names)
    lines = ""
    for (source, prompt), row in list(rows.items())[:SHOWN]:
        cells = [f"<td>{picture(row['pictures'].get(name), name)}</td>" for name in shown]
        cells += [f'<td class="word">{safe(row["truth"])}</td>'] if "truth" in names else []  # which may take several lines
        cells += [f"<td>{row['arms'].get(name, '')}</td>" for name in arms]
        cells += [f"<td>{safe(row['cells'].get(name, ''))}</td>" for name in columns[:CELLS]]
        lines += f'<tr><th scope="row">{safe(f"{source}: {prompt}")}</th>{"".join(cells)}</tr>\n'
    note = "Held-out documents and what models of the first seed made of them. They show what the data are; they decide nothing."
    drawn = any((entry.drawn or "").startswith(PLOT) for entries in written.values() for entry in entries)
    note += " In red: what an arm forecasts; in pink: the range that it expects." if drawn else ""
    note += f" {CELLS} of {len(columns)} columns are shown." if len(columns) > CELLS else ""
    table = f'<table class="images">\n<thead><tr>{head}</tr></thead>\n<tbody>\n{lines}</tbody></table>'
    return section(
        "Samples", f'<p class="note">{note}</p>', f'<div class="scroll" tabindex="0" role="region" aria-label="Samples">{table}</div>'
    )


def picture(address: str | None, name: str) -> str:
    """A small picture; nothing where there is none, or one that the page would have to fetch."""
    if not address or not address.startswith((PIXELS, PLOT)):
        return ""
    kind = ' class="plot"' if address.startswith(PLOT) else ""
    return f'<img{kind} src="{safe(address)}" alt="{safe(name)}">'
