"""What the data are where they can be shown: images, plots of series, drawings of graphs, cells of rows; what arms made of them."""

from __future__ import annotations

from typing import Any

from windtunnel.report.elements import safe, section
from windtunnel.report.words import BASELINE, Reading

SHOWN = 12  # documents
CELLS = 12  # columns of a table
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
    columns = list(dict.fromkeys(name for row in rows.values() for name in row["cells"]))[:CELLS]
    lines = [[safe(name) for name in ("", *shown, *columns, "truth", *arms)]]
    for (source, prompt), row in list(rows.items())[:SHOWN]:
        pictures = [picture(row["pictures"].get(name), name) for name in shown]
        pictures += [safe(row["cells"].get(name, "")) for name in columns]
        lines.append([safe(f"{source}: {prompt}"), *pictures, safe(row["truth"]), *(row["arms"].get(name, "") for name in arms)])
    table = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in line) + "</tr>\n" for line in lines)
    note = "Held-out documents and what models of the first seed made of them. They show what the data are; they decide nothing."
    return section("Samples", f'<p class="note">{note}</p>', f'<table class="images">{table}</table>')


def picture(address: str | None, name: str) -> str:
    """A small picture; nothing where there is none, or one that the page would have to fetch."""
    if not address or not address.startswith((PIXELS, PLOT)):
        return ""
    kind = ' class="plot"' if address.startswith(PLOT) else ""
    return f'<img{kind} src="{safe(address)}" alt="{safe(name)}">'
