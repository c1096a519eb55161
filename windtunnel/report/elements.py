"""The pieces of an HTML page: text made safe, sections, tables, figures, what is folded away, and the frame round all of it."""

from __future__ import annotations

import html
import importlib.resources
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from windtunnel.core.files import write_text
from windtunnel.report import charts, tables
from windtunnel.report.words import DASH
from windtunnel.study.result import BASELINE

# Nothing may be fetched and nothing may run, whatever a document, a sample or an arm's name contains.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
LENGTH = 1200  # characters of one text that are shown
RECIPE_LENGTH = 40_000  # characters of one recipe that are shown
CARD_COLUMNS, CARDS = 5, 12  # a table of more columns and at most so many rows is a card a row on a phone


def safe(text: Any) -> str:
    """``text`` as HTML that shows it literally; characters that no document may hold become a replacement sign."""
    kept = "".join(character if character.isprintable() or character in "\n\t" else "�" for character in str(text))
    return html.escape(kept, quote=True)


def to_file(text: str, path: Path) -> Path:
    """Put ``text`` into ``path``, whole or not at all. Raises UserError where that cannot be done."""
    write_text(path, text, errors="replace")
    return path


def framed(
    title: str,
    kicker: str,
    heading: str,
    subtitle: str,
    head: str,
    body: str,
    version: str,
    numbers: str = "in <code>result.json</code> beside it",
) -> str:
    """A whole page round the HTML of ``head`` and ``body``; ``numbers`` says, as HTML, where they are. Everything else is plain text."""
    style = importlib.resources.files("windtunnel.report").joinpath("document.css").read_text(encoding="utf-8")
    style += f"@media (prefers-color-scheme: dark) {{\n{charts.theme_rules()}\n}}\n"
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{safe(title)}</title>
<link rel="icon" href="data:,">
<style>
{style}</style>
</head>
<body>
<header>
<p class="kicker">{safe(kicker)}</p>
<h1>{safe(heading)}</h1>
<p class="note">{safe(subtitle)}</p>
{head}</header>
<main>
{body}</main>
<footer><p>Written by Windtunnel {safe(version)}. The numbers of this page are {numbers}.</p></footer>
</body>
</html>
"""


def paragraphs(text: Any) -> str:
    """What the author of the study wrote about it."""
    lines = text if isinstance(text, (list, tuple)) else str(text or "").split("\n\n")
    return "".join(f"<p>{safe(line)}</p>\n" for line in lines if str(line).strip())


def section(title: str, *blocks: str) -> str:
    """A section with its heading, nothing where it has no content."""
    content = "\n".join(block for block in blocks if block)
    return f"<section>\n<h2>{safe(title)}</h2>\n{content}\n</section>\n" if content else ""


def html_table(table: tables.Table) -> str:
    """A table that scrolls sideways inside its own box; a first cell that repeats the one above stays silent to the eye only.

    On a phone a wide table of few rows becomes a card for each row, in which every value has the heading of its column beside it.
    """
    if not table.rows:
        return ""
    head = "".join(f'<th scope="col"{css(index, table)}>{safe(column)}</th>' for index, column in enumerate(table.columns))
    body, before = [], None
    for row in table.rows:
        cells = "".join(
            f'<td{css(index, table, cell)} data-label="{safe(table.columns[index])}">{safe(cell)}</td>'
            for index, cell in enumerate(row)
            if index
        )
        repeated = ' class="same"' if row[0] == before else ""
        body.append(f'<tr{repeated}><th scope="row"{css(0, table)} title="{safe(row[0])}">{safe(row[0])}</th>{cells}</tr>\n')
        before = row[0]
    note = f'\n<p class="note">{safe(table.note)}</p>' if table.note else ""
    cards = " cards" if len(table.columns) > CARD_COLUMNS and len(table.rows) <= CARDS else ""
    return (
        f'<div class="scroll{cards}" tabindex="0" role="region" aria-label="{safe(table.title)}"><table>\n<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{''.join(body)}</tbody></table></div>{note}"
    )


def css(index: int, table: tables.Table, cell: str = "") -> str:
    """The classes of a cell: whether its column is one of words, and whether there is nothing in it."""
    names = ["word"] * (index in table.words) + ["none"] * (cell == DASH)
    return f' class="{" ".join(names)}"' if names else ""


def figure(drawing: str, caption: str, legend: str = "", more: str = "") -> str:
    """A drawing with its caption, and ``more`` HTML below it."""
    return f"<figure>\n{legend}{drawing}\n<figcaption>{safe(caption)}{more}</figcaption>\n</figure>" if drawing else ""


def explained(what: str, text: str) -> str:
    """``text`` behind a question mark, of which ``what`` tells those who cannot see it."""
    return f'<details class="why"><summary aria-label="{safe(what)}" title="{safe(what)}">?</summary>\n<p>{safe(text)}</p>\n</details>'


def swatch(colour: str, dash: tuple[int, ...]) -> str:
    """A short stroke in the colour and dash of a line."""
    dashes = f' stroke-dasharray="{" ".join(map(str, dash))}"' if dash != (1, 0) else ""
    path = f'<path d="M1 4H25" stroke="{charts.light(colour)}" stroke-width="2.5"{dashes}></path>'
    return f'<svg width="26" height="8" aria-hidden="true">{path}</svg>'


def folded(title: str, number: int | None, content: str, *, opened: bool = False) -> str:
    """Something to unfold."""
    counted = f' <span class="count">({number})</span>' if number is not None else ""
    return f"<details{' open' if opened else ''}><summary>{safe(title)}{counted}</summary>\n{content}\n</details>"


def shortened(text: Any, limit: int = LENGTH) -> str:
    """``text`` cut where nobody would read on."""
    text = str(text)
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text) - limit} characters more)"


def pairs(entries: Mapping[str, Any]) -> str:
    """Names and values as a table."""

    def shown(name: str, value: Any) -> str:
        if name.endswith("_bytes"):
            return tables.storage(value)
        return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)

    rows: list[tuple[str, ...]] = [
        (str(name).removesuffix("_bytes"), shown(str(name), value)) for name, value in entries.items() if value is not None
    ]
    return html_table(tables.Table("Versions and hardware", ("what", "value"), rows, frozenset({0, 1})))


def recipes(everything: Mapping[str, Any]) -> str:
    """Resolved recipes, the baseline's first. Of an arm also what differs from the baseline."""
    import yaml

    base = yaml.safe_dump(everything.get(BASELINE), sort_keys=False, allow_unicode=True, width=100).splitlines()
    blocks = []
    for name in sorted(everything, key=lambda name: name != BASELINE):
        text = yaml.safe_dump(everything[name], sort_keys=False, allow_unicode=True, width=100)
        if name == BASELINE or BASELINE not in everything:
            content = f"<pre>{safe(shortened(text, RECIPE_LENGTH))}</pre>"
        else:
            content = difference(base, text.splitlines()) + folded("In full", None, f"<pre>{safe(shortened(text, RECIPE_LENGTH))}</pre>")
        blocks.append(folded(str(name), None, content))
    return section("Recipes, resolved", *blocks)


def difference(base: list[str], own: list[str]) -> str:
    """What an arm changes in the baseline's recipe."""
    import difflib

    lines = [line for line in difflib.unified_diff(base, own, lineterm="", n=2) if not line.startswith(("---", "+++"))]
    if not lines:
        return '<p class="note">The same as the baseline.</p>'
    text = safe(shortened("\n".join(lines), RECIPE_LENGTH))
    return f'<p class="note">Against the baseline (− baseline, + this arm):</p><pre>{text}</pre>'
