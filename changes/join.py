"""Join the files of this folder into CHANGELOG.md: ``python changes/join.py VERSION``; without VERSION only print what they would become.

A file describes one change, a line for each thing that somebody notices: ``added: ...``, ``changed: ...``, ``fixed: ...`` or
``wrong-numbers: ...``, one sentence.
"""

from __future__ import annotations

import datetime
import re
import sys
from collections.abc import Mapping
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
HEADINGS = {"added": "Added", "changed": "Changed", "fixed": "Fixed", "wrong-numbers": "Wrong numbers"}
UNRELEASED = "## Unreleased\n"


def lines_of(file: Path) -> list[tuple[str, str]]:
    """The lines of one file as (kind, sentence). Raises ValueError where one is not written as it should be."""
    found = []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        match = re.fullmatch(r"([a-z-]+): (\S.*\S)", line)
        if not match or match[1] not in HEADINGS:
            raise ValueError(f"{file.name}:{number}: begin with one of {', '.join(f'{kind}: ' for kind in HEADINGS)}")
        if not match[2].endswith((".", ")", "`")):
            raise ValueError(f"{file.name}:{number}: end with a full stop")
        found.append((match[1], match[2]))
    return found


def collected(folder: Path) -> dict[str, list[str]]:
    """The sentences of all files in ``folder`` by kind."""
    found: dict[str, list[str]] = {kind: [] for kind in HEADINGS}
    for file in sorted(folder.glob("*.md")):
        for kind, sentence in lines_of(file):
            found[kind].append(sentence)
    return found


def released(changelog: str, changes: Mapping[str, list[str]], version: str, date: str) -> str:
    """``changelog`` with ``changes`` under the headings of its unreleased section, which gets ``version`` and ``date`` for a name."""
    before, _, rest = changelog.partition(UNRELEASED)
    section, further, after = rest.partition("\n## ")
    introduction, *blocks = re.split(r"^### ", section, flags=re.MULTILINE)
    written = {block.partition("\n")[0]: block.partition("\n")[2].strip() for block in blocks}
    for kind, heading in HEADINGS.items():
        lines = [f"- {sentence[:1].upper()}{sentence[1:]}" for sentence in changes[kind]]
        written[heading] = "\n".join(filter(None, [written.get(heading, ""), *lines]))
    body = "\n\n".join(f"### {heading}\n\n{text}" for heading in HEADINGS.values() if (text := written[heading]))
    whole = "\n\n".join(filter(None, [f"## {version} ({date})", introduction.strip(), body]))
    return f"{before}{UNRELEASED}\n{whole}\n{further}{after}"


def main(arguments: list[str]) -> None:
    """Print the changes, or write them into the changelog and remove their files."""
    changes = collected(FOLDER)
    if not arguments:
        for kind, sentences in changes.items():
            print(*(f"{HEADINGS[kind]}: {sentence}" for sentence in sentences), sep="\n")
        return
    changelog = FOLDER.parent / "CHANGELOG.md"
    text = released(changelog.read_text(encoding="utf-8"), changes, arguments[0], datetime.date.today().isoformat())
    changelog.write_text(text, encoding="utf-8")
    for file in FOLDER.glob("*.md"):
        file.unlink()


if __name__ == "__main__":
    main(sys.argv[1:])
