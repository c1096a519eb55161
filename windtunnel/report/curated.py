"""The page of a curation: what was read, what each curator left, what went and why, and what it cost."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from windtunnel.report.elements import folded, framed, html_table, pairs, recipes, safe, section, shortened, to_file
from windtunnel.report.markup import cells, escaped
from windtunnel.report.tables import Table
from windtunnel.report.words import duration, number, storage


def steps(result: Mapping[str, Any]) -> Table:
    """What stood at the beginning and what each curator left, all sources together."""
    rows = []
    for place, step in enumerate(result["funnel"]):
        before, after = (_sum(step[when].values()) for when in ("before", "after"))
        if not place:
            rows.append(("read", number(before[0], 0), storage(before[1]), "", ""))
        share = f"{1 - after[0] / before[0]:.1%}" if before[0] else ""
        rows.append((step["curator"], number(after[0], 0), storage(after[1]), share, duration(step["spent"]["cpu_seconds"])))
    return Table("What each curator left", ("step", "documents", "size", "removed", "CPU time"), rows, frozenset({0}))


def sources(result: Mapping[str, Any]) -> Table:
    """What was read and skipped of each source, and what is left of it."""
    rows = [(row["source"], row["what"], number(row["documents"], 0), storage(row["bytes"])) for row in result["sources"]]
    kept = result["funnel"][-1]["after"] if result["funnel"] else {}
    for name in dict.fromkeys(row["source"] for row in result["sources"]):
        documents, size = kept.get(name, (0, 0))
        rows.append((name, "stays", number(documents, 0), storage(size)))
    return Table("Sources", ("source", "what", "documents", "size"), sorted(rows, key=lambda row: row[0]), frozenset({0, 1}))


def reasons(result: Mapping[str, Any]) -> Table:
    """What went of each source, by curator and reason, most documents first."""
    rows = [
        (step["curator"], gone["reason"], gone["source"], number(gone["documents"], 0), storage(gone["bytes"]))
        for step in result["funnel"]
        for gone in sorted(step["removed"], key=lambda gone: -gone["documents"])
    ]
    return Table("What went and why", ("curator", "reason", "source", "documents", "size"), rows, frozenset({0, 1, 2}))


def notes(result: Mapping[str, Any]) -> Table:
    """What curators counted besides."""
    rows = [(step["curator"], row["what"], number(row["documents"], 0)) for step in result["funnel"] for row in step["told"]]
    return Table("What else curators say", ("curator", "what", "documents"), rows, frozenset({0, 1}))


def page(result: Mapping[str, Any], folder: Path) -> Path:
    """Write ``folder/report.html`` and ``report.md``; the path of the page. Raises UserError where they cannot be written."""
    tables = [made for make in (steps, sources, reasons, notes) if (made := make(result)).rows]
    text = "\n\n".join(["# Curation", *(part for table in tables for part in (f"## {escaped(table.title)}", cells(table)))])
    to_file(text + "\n", folder / "report.md")
    examples = "".join(_examples(step["curator"], gone) for step in result["funnel"] for gone in step["removed"])
    cost = result["cost"]
    spent = {"CPU time": duration(cost["cpu_seconds"]), "time": duration(cost["seconds"])}
    if cost["flops"]:
        spent |= {"FLOPs of models": f"{cost['flops']:.3g}", "tokens": f"{cost['tokens']:,.0f}"}
    body = "".join(
        (
            *(section(table.title, html_table(table)) for table in tables),
            section("Victims", examples, '<p class="note">All of them are in <code>victims.parquet</code>.</p>') if examples else "",
            section("What it cost", pairs(spent)),
            recipes({"curation": result["recipe"]}),
            section("Versions", pairs(result["versions"])),
        )
    )
    first, last = (_sum(result["funnel"][place][when].values()) for place, when in ((0, "before"), (-1, "after")))
    subtitle = f"{last[0]:,} of {first[0]:,} documents stay, {storage(last[1])} of {storage(first[1])}"
    version = str(result["versions"].get("windtunnel", ""))
    numbers = "in <code>curated.json</code> beside it"
    html = framed("What stays and what went", "Windtunnel curation", "Curation", subtitle, "", body, version, numbers)
    return to_file(html, folder / "report.html")


def _examples(curator: str, gone: Mapping[str, Any]) -> str:
    shown = "".join(
        f'<div><p class="who">{safe(one["origin"])}{safe(": " + one["detail"] if one["detail"] else "")}</p>'
        f"<pre>{safe(shortened(one['beginning'] or ''))}</pre></div>\n"
        for one in gone["examples"]
    )
    return folded(f"{curator}: {gone['reason']}, {gone['source']}", gone["documents"], f'<div class="sample">{shown}</div>')


def _sum(sizes: Any) -> tuple[int, int]:
    found = list(sizes)
    return sum(documents for documents, _ in found), sum(size for _, size in found)
