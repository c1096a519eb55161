"""Pages of the documentation that are made from the code and the measured results: one for each slot and paper, and an index.

Pure functions from data to Markdown. ``make docs`` writes these pages to windtunnel/library/pages, which git ignores and a wheel holds,
and fills numbers into the templates of docs/.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from windtunnel.core.errors import UserError, nearest
from windtunnel.core.files import write_text
from windtunnel.core.schema import describe
from windtunnel.core.shipped import PAGES, library, paper_files
from windtunnel.recipe.yaml import Document
from windtunnel.report.adaptation import change
from windtunnel.report.coverage import coverage_page
from windtunnel.report.expectations import expected
from windtunnel.report.fields import result_page
from windtunnel.report.markup import cells, code, escaped, table_of
from windtunnel.report.reading import Reading
from windtunnel.report.reference import keys_page
from windtunnel.report.tables import transfer_table, verdicts
from windtunnel.report.words import mapping
from windtunnel.study.lenient import paper_result
from windtunnel.study.paper_result import PaperResult
from windtunnel.study.results import load


def parts_pages() -> dict[str, str]:
    """A page for each slot with its parts (what each does and where it comes from, its knobs with default and meaning), and an index."""
    from windtunnel.core import registry
    from windtunnel.slots import by_name

    pages, rows = {}, []
    for slot_name, slot in by_name().items():
        parts = registry.names(slot)
        meaning = (slot.__doc__ or "").strip().splitlines()[0] if slot.__doc__ else ""
        blocks = [f"# {escaped(slot_name)}", escaped(meaning), *(part_entry(describe(parts[name])) for name in sorted(parts))]
        file = f"{registry.folder_of(slot_name)}.md"
        pages[f"parts/{file}"] = joined(blocks if parts else [*blocks, "No part fills this slot yet."])
        rows.append((f"[{escaped(slot_name)}]({file})", ", ".join(f"[{escaped(name)}]({file}#{name})" for name in sorted(parts)) or "–"))
    head = ["# Parts", "Everything that can be plugged into a recipe, by slot. `windtunnel parts NAME` prints one entry."]
    return {"parts/index.md": joined([*head, table_of(("slot", "parts"), rows, frozenset(range(2)))]), **pages}


def joined(blocks: Sequence[str]) -> str:
    """Blocks of Markdown as a page, empty ones left out."""
    return "\n\n".join(block for block in blocks if block) + "\n"


def part_entry(entry: Mapping[str, Any]) -> str:
    """One part as ``core.schema.describe`` gives it: heading, documentation, knobs, conflicts."""
    blocks = [f"## {escaped(entry['name'])}", *(prose(paragraph) for paragraph in str(entry["documentation"]).split("\n\n"))]
    rows = []
    for knob, about in entry["knobs"].items():
        default = "required" if about["required"] else code(json.dumps(about["default"], ensure_ascii=False))
        rows.append((code(knob), code(about["type"]), default, escaped(about["description"])))
    if rows:
        blocks.append(table_of(("knob", "type", "default", "meaning"), rows, frozenset(range(4))))
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


def papers_pages(papers: Sequence[Mapping[str, Any]], results: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """A page for each paper, and an index of them by area.

    ``papers`` are paper files as mappings (``area``, ``papers``, ``title``, ``year``, ``arxiv``, ``claim``, ``notes``, ``outcomes``).
    ``results`` holds what was measured by name of the paper and by scale, each the content of papers/AREA/NAME/SCALE.json.
    """
    pages: dict[str, str] = {}
    rows = []
    for paper in sorted(papers, key=lambda paper: (str(paper.get("area")), paper_name(paper))):
        name = paper_name(paper)
        measured = {scale: paper_result(result) for scale, result in results.get(name, {}).items()}
        pages[f"papers/{name}.md"] = paper_page(paper, measured)
        verdicts = [f"{escaped(result.verdict)} ({escaped(scale)}{held(result)})" for scale, result in measured.items()]
        link = f"[{escaped(name)}]({name}.md)"
        title = f"{escaped(paper.get('title', ''))} ({escaped(paper.get('year', ''))})"
        rows.append((escaped(paper.get("area", "")), link, title, ", ".join(verdicts) or "not measured yet"))
    head = (
        "# Papers",
        "What published papers claim, and what was measured here. “Not reproduced” is a result: nothing was tuned until it came out "
        "right. “4 of 5” counts the expectations that held. A paper is reproduced if all hold, and not reproduced if one is refuted.",
    )
    return {"papers/index.md": joined([*head, table_of(("area", "name", "title", "measured"), rows, frozenset(range(4)))]), **pages}


def paper_page(paper: Mapping[str, Any], measured: Mapping[str, PaperResult]) -> str:
    """The page of one paper: its claim, then what was expected and measured at each scale, then the notes."""
    arxiv, area = paper.get("arxiv"), paper.get("area")
    source = [str(paper.get("authors") or ""), str(paper.get("year") or "")]
    where = f"papers/{area}/{paper_name(paper)}" if area else ""
    blocks = [
        f"# {escaped(paper_name(paper))}",
        f"*{escaped(paper.get('title', ''))}*",
        ", ".join([escaped(entry) for entry in source if entry] + ([f"[arXiv:{arxiv}](https://arxiv.org/abs/{arxiv})"] if arxiv else [])),
        f"The study is in `{where}/paper.yaml`: `windtunnel reproduce {paper_name(paper)}` flies it." if where else "",
        f"**Claim.** {escaped(paper.get('claim', ''))}",
    ]
    for scale, result in measured.items():
        reading = Reading(result)
        table, arms = expected(reading), verdicts(reading)
        told = mapping(paper.get("outcomes")).get(scale) or ""
        blocks += [f"## Measured ({escaped(scale)}): {escaped(result.verdict)}{held(result)}", escaped(told)]
        blocks += ["### What was expected", cells(table), escaped(table.note)] if table.rows else []
        blocks += ["### Against the baseline", escaped(arms.title) + ".", cells(arms), escaped(arms.note)] if reading.arms else []
        blocks += [f"Numbers of every seed: `{where}/{scale}.json`." if where else ""]
    if not measured:
        blocks.append("## Not measured yet")
    return joined([*blocks, *(["## Notes", escaped(paper["notes"])] if paper.get("notes") else [])])


def paper_name(paper: Mapping[str, Any]) -> str:
    """A paper's own name: the first of the catalogue slugs it answers."""
    slugs = paper.get("papers")
    return str((slugs[0] if isinstance(slugs, (list, tuple)) and slugs else slugs) or "paper")


def held(result: PaperResult) -> str:
    """How many of a paper's expectations were reproduced, as ``, 4 of 5``; nothing where it has none."""
    verdicts = [entry.verdict for entry in result.expectations]
    return f", {verdicts.count('reproduced')} of {len(verdicts)}" if verdicts else ""


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
    """Write the pages of parts and of the papers in ``papers`` below ``folder``; returns what was written."""
    files = paper_files(papers)
    listed = [{**Document(path).data, "area": path.parents[1].name} for path in files.values()]
    results = {name: {file.stem: load(file) for file in sorted(path.parent.glob("*.json"))} for name, path in files.items()}
    pages = {**parts_pages(), **papers_pages(listed, results)}
    for name, text in pages.items():
        write_text(folder / name, text)
    return [folder / name for name in pages]


def fill(folder: Path, papers: Path, studies: Path) -> list[Path]:
    """Fill the templates ``NAME.md.in`` of ``folder`` with numbers from results into ``NAME.md``, and write the pages of the fields of a
    result, of the keys of a file and of surveys where there are such; returns what was written.

    Results are called by what stands in a template: NAME.SCALE for a paper's, NAME for one in ``studies``/results.
    """
    found = {f"{name}.{file.stem}": file for name, path in paper_files(papers).items() for file in path.parent.glob("*.json")}
    found |= {file.stem: file for file in (studies / "results").glob("*.json")}
    made = []
    for template in sorted(folder.glob("*.md.in")):
        text = template.read_text(encoding="utf-8")
        named = {name: load(file) if f"{{{{{name}:" in text else {} for name, file in found.items()}
        made.append(folder / template.name.removesuffix(".in"))
        write_text(made[-1], filled(text, named))
    for page, make in {"result.md": result_page, "keys.md": keys_page, "coverage.md": coverage_page}.items():
        if (folder / page).exists():
            made.append(folder / page)
            write_text(made[-1], make())
    return made


if __name__ == "__main__":
    templates = [Path(name) for name in sys.argv[1:]]
    built = write(PAGES, library("papers"))
    for file in (file for folder in templates for file in fill(folder, library("papers"), library("studies"))):
        print(file)
    print(f"{len(built)} pages: {PAGES}")
