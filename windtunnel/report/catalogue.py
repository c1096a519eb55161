"""Pages of the documentation that are made from the code and the measured results: every part, every paper.

Pure functions from data to Markdown; the documentation build writes them to files.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from windtunnel.core.errors import UserError, nearest
from windtunnel.core.library import paper_files
from windtunnel.report.adaptation import change
from windtunnel.report.markup import cells, escaped, written
from windtunnel.report.tables import expected, interval, transfer_table
from windtunnel.report.words import BASELINE, Reading, finite, mapping, several, signed
from windtunnel.study.results import load


def parts_page() -> str:
    """All parts by slot as Markdown: what each does and where it comes from, then its knobs with default and meaning."""
    from windtunnel.core import registry

    registry.load_all()
    blocks = [
        "# Parts",
        "Everything that can be plugged into a recipe, by slot. This page is made from the code; `windtunnel parts NAME` prints one entry.",
    ]
    for slot_name, slot in registry.slots().items():
        parts = registry.names(slot)
        meaning = (slot.__doc__ or "").strip().splitlines()[0] if slot.__doc__ else ""
        blocks += [f"## {slot_name}", escaped(meaning)]
        if not parts:
            blocks.append("No part fills this slot yet.")
        for name in sorted(parts):
            blocks.append(part_entry(registry.describe(parts[name])))
    return "\n\n".join(block for block in blocks if block) + "\n"


def part_entry(entry: Mapping[str, Any]) -> str:
    """One part as ``registry.describe`` gives it: heading, documentation, knobs, conflicts."""
    blocks = [f"### {escaped(entry['name'])}", *(prose(paragraph) for paragraph in str(entry["documentation"]).split("\n\n"))]
    rows = []
    for knob, about in entry["knobs"].items():
        default = "required" if about["required"] else code(json.dumps(about["default"], ensure_ascii=False))
        rows.append((code(knob), code(about["type"]), default, escaped(about["description"])))
    if rows:
        blocks.append(written(("knob", "type", "default", "meaning"), rows, frozenset(range(4))))
    else:
        blocks.append("It has no knobs.")
    if entry["conflicts"]:
        blocks.append(
            "Not together with " + "; ".join(f"{code(other)} ({escaped(reason)})" for other, reason in entry["conflicts"].items()) + "."
        )
    return "\n\n".join(blocks)


def prose(text: str) -> str:
    """A paragraph of a docstring as Markdown: what it marks as code is code, arXiv numbers are links, the rest is literal."""
    pieces = re.split(r"``(.+?)``|:\w+:`(.+?)`", " ".join(text.split()))
    shown = []
    for index, piece in enumerate(pieces):
        if index % 3 == 0:
            shown.append(re.sub(r"arXiv:(\d{4}\.\d{4,5})", r"[arXiv:\1](https://arxiv.org/abs/\1)", escaped(piece, whole=False)))
        elif piece:
            shown.append(code(piece.lstrip("~")))
    return "".join(shown)


def code(text: Any) -> str:
    """``text`` as Markdown code that may stand in a table."""
    plain = " ".join(str(text).split()).replace("|", "\\|")
    fence = "``" if "`" in plain else "`"
    space = " " if fence == "``" else ""
    return f"{fence}{space}{plain}{space}{fence}"


def papers_page(papers: Sequence[Mapping[str, Any]], results: Mapping[str, Any], folder: str = "../papers") -> str:
    """A table of papers with their claim, what was measured and where it stands, then one short section for each.

    ``papers`` are paper files as mappings (``area``, ``name`` or ``papers``,
    ``title``, ``year``, ``arxiv``, ``claim``, ``notes``, ``outcomes``).
    ``results`` holds measured results by ``NAME.SCALE``, each the content of papers/AREA/NAME/SCALE.json.
    ``folder`` is where the links point, seen from the page.
    """
    rows, sections = [], []
    for paper in papers:
        name = paper_name(paper)
        measured = {key.removeprefix(f"{name}."): mapping(value) for key, value in results.items() if key.startswith(f"{name}.")}
        links = {scale: f"{folder}/{paper.get('area')}/{name}/{scale}.json" for scale in measured}
        verdicts = [
            f"[{escaped(paper_verdict(result))}]({links[scale]}) ({escaped(scale)}{held(result)})" for scale, result in measured.items()
        ]
        source = f"[{escaped(paper['arxiv'])}](https://arxiv.org/abs/{paper['arxiv']})" if paper.get("arxiv") else ""
        rows.append(
            (
                escaped(name),
                escaped(paper.get("title", "")),
                escaped(paper.get("year", "")),
                source,
                ", ".join(verdicts) or "not measured yet",
            )
        )
        lines = [f"## {escaped(name)}", f"**Claim.** {escaped(paper.get('claim', ''))}"]
        for scale, result in measured.items():
            told = mapping(paper.get("outcomes")).get(scale) or ""
            lines.append(f"**Measured ({escaped(scale)}): {escaped(paper_verdict(result))}.** {escaped(told)}".rstrip())
            table = expected(Reading(result))
            lines += [cells(table)] if table.rows else []
            arms = paper_measured(result)
            lines += [f"Against the baseline: {escaped(arms)}"] if arms else []
        if paper.get("notes"):
            lines.append(f"**Notes.** {escaped(paper['notes'])}")
        sections.append("\n\n".join(lines))
    head = (
        "# Papers\n\nWhat each paper claims and what was measured here. A “not reproduced” is a result: nothing was tuned until it came "
        "out right. “4 of 5” are expectations that held; a paper is reproduced if all of them do, and not reproduced if one is refuted.\n\n"
        "This page is made from the files in papers/."
    )
    return "\n\n".join([head, written(("name", "title", "year", "arXiv", "measured"), rows, frozenset(range(5))), *sections]) + "\n"


def paper_name(paper: Mapping[str, Any]) -> str:
    """A paper's own name: ``name``, else the first of the catalogue slugs it answers."""
    slugs = paper.get("papers")
    return str(paper.get("name") or (slugs[0] if isinstance(slugs, (list, tuple)) and slugs else slugs) or "paper")


def paper_verdict(result: Mapping[str, Any]) -> str:
    """reproduced, not reproduced or undecided, as the result states it."""
    return str(result.get("verdict") or "undecided")


def held(result: Mapping[str, Any]) -> str:
    """How many of a paper's expectations were reproduced, as ``, 4 of 5``; nothing where it has none."""
    verdicts = [mapping(entry).get("verdict") for entry in several(result.get("expectations"))]
    return f", {verdicts.count('reproduced')} of {len(verdicts)}" if verdicts else ""


def paper_measured(result: Mapping[str, Any]) -> str:
    """What every arm did against the baseline, in one line. A result may hold a study's result or be one."""
    reading = Reading(mapping(result.get("result")) or mapping(result.get("study_result")) or result)
    said = [f"{name} {reading.sentence(name)}" for name in reading.ranked() if name != BASELINE]
    if not said and finite(result.get("difference")) is not None:
        said = [f"difference {signed(result['difference'])} ({interval(result, 3)})"]
    return " ".join(said)


def filled(template: str, results: Mapping[str, Any]) -> str:
    """``template`` with every ``{{RESULT: ARM}}`` replaced by what the result says of the arm, in words with its interval.

    ``{{RESULT: *}}`` becomes the table of what every arm kept and gained.

    ``results`` holds the content of result files, of papers, studies and adaptations, by the stem of the file. An adaptation has sources
    in the place of arms.

    Raises:
        UserError: naming a result, an arm or a source that is not there.
    """

    def sentence(found: re.Match[str]) -> str:
        name, arm = found.group(1), found.group(2)
        if name not in results:
            raise UserError(f"{found.group(0)}: there is no such result; {nearest(name, results)}")
        result = mapping(results[name])
        if result.get("kind") == "adaptation":
            if arm not in result["sources"]:
                raise UserError(f"{found.group(0)}: the result has no such source; {nearest(arm, result['sources'])}")
            return escaped(change(arm, result["sources"][arm]))
        reading = Reading(result)
        if arm == "*":
            return cells(transfer_table(reading))
        if arm not in reading.ranked():
            raise UserError(f"{found.group(0)}: the result has no such arm; {nearest(arm, reading.ranked())}")
        return escaped(reading.sentence(arm))

    return re.sub(r"\{\{([^{}:]+): ([^{}]+)\}\}", sentence, template)


def write(folder: Path, papers: Path) -> list[Path]:
    """Write the generated pages to ``folder`` from the code, the files in ``papers`` and templates there; returns what was written.

    A template is a file ``NAME.md.in`` of ``folder``; see :func:`filled`.
    """
    import os

    import yaml

    files = paper_files(papers)
    results = {f"{name}.{result.stem}": load(result) for name, path in files.items() for result in sorted(path.parent.glob("*.json"))}
    listed = [
        {"name": name, "area": path.parents[1].name, **mapping(yaml.safe_load(path.read_text(encoding="utf-8")))}
        for name, path in files.items()
    ]
    pages = {
        "parts.md": parts_page(),
        "papers.md": papers_page(listed, results, Path(os.path.relpath(papers, folder)).as_posix()),
    }
    measured = {**results}
    for path in sorted((papers.parent / "studies" / "results").glob("*.json")):
        measured[path.stem] = load(path)
    for path in sorted(folder.glob("*.md.in")):
        pages[path.name.removesuffix(".in")] = filled(path.read_text(encoding="utf-8"), measured)
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in pages.items():
        (folder / name).write_text(text, encoding="utf-8")
    return [folder / name for name in pages]


if __name__ == "__main__":
    for written_file in write(Path(sys.argv[1] if len(sys.argv) > 1 else "docs"), Path("papers")):
        print(written_file)
