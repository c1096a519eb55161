"""The text of manual pages, which are written in roff.

No maintained Python library reads them, and what groff or mandoc print depends on their version and on whether the machine has them, so
the two macro packages of manual pages, man and mdoc, are read here. It renders no layout: text, headings, and what stands in tables.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator

from windtunnel.data.corpus.opened import Unreadable
from windtunnel.data.extract.mdoc import mdoc_line
from windtunnel.data.extract.roff import Strings, arguments, plain

_JOINING = {"BI", "BR", "IB", "IR", "RB", "RI"}  # fonts in turn, with no space between the words
_FONT = {"B", "I", "R", "SM", "SB"}
_BREAK = {"PP", "LP", "P", "TP", "IP", "HP", "TQ", "RS", "RE", "br", "sp", "Sp", "SY", "YS", "Pp", "Bl", "El", "Bd", "Ed", "It", "D1", "Dl"}
_HEADING = {"SH", "SS", "Sh", "Ss"}
_VERBATIM = {"nf": True, "EX": True, "Vb": True, "fi": False, "EE": False, "Ve": False}
_NAME = re.compile(r"([^\s\\]*)(.*)", re.DOTALL)
_CONDITION = re.compile(r"(!?)(\S+?)(?=\s|\\\{|$)\s*(.*)", re.DOTALL)


def manual_text(page: str) -> str:
    """The text of a manual page: a line for each paragraph, item and heading; verbatim lines stay as they are.

    Raises:
        Unreadable: where the page only says that another one is to be read.
    """
    lines = _without_definitions(page.replace("\\\n", "").splitlines(), strings := Strings())
    kept = list(lines)
    if len(kept) <= 2 and any(line[1:].lstrip().startswith("so ") for line in kept):
        raise Unreadable("reference to another manual page", "only refers to another manual page")
    text = "\n".join(_paragraphs(iter(kept), strings))
    return re.sub(r"\n{3,}", "\n\n", text).strip()


def _without_definitions(lines: list[str], strings: Strings) -> Iterator[str]:
    """The lines that are set, with strings and conditions worked out; macros that a page defines for itself are left out."""
    coming = deque(lines)
    until: str | None = None
    depth = dropped = 0  # braces that are open, and how many were when the part that is not set began
    last = True  # whether the last condition that has an alternative holds
    while coming:
        line = coming.popleft()
        name, rest = _request(line)
        if until is not None:
            until = None if name == until else until
        elif name in ("de", "de1", "am", "ig"):
            end = rest.partition('\\"')[0].split()[0 if name == "ig" else 1 :]
            until = end[0] if end else "."
        elif name in ("if", "ie", "el"):
            met = _CONDITION.match(rest) if name != "el" else None
            holds = not last if name == "el" else met is not None and _holds(met[2]) != bool(met[1])
            last = holds if name == "ie" else last
            body = rest if name == "el" else met[3] if met else rest
            if body.lstrip().startswith("\\{"):
                depth += 1
                body = body.lstrip()[2:]
                dropped = dropped or (0 if holds else depth)
                coming.appendleft(body)
            elif holds and not dropped:
                coming.appendleft(body)
        elif "\\}" in line or "\\{" in line:
            depth += line.count("\\{") - line.count("\\}")
            text = line.replace("\\}", "").replace("\\{", "")
            if not dropped and text.strip(" .'"):
                coming.appendleft(text)
            depth = max(depth, 0)
            dropped = 0 if depth < dropped else dropped
        elif dropped:
            continue
        elif name == "ds":
            strings.define(rest)
        else:
            yield line


def _holds(condition: str) -> bool:
    """Whether a condition holds for a terminal; what is not known does not."""
    return condition == "n" or (condition.isdigit() and int(condition) > 0)


def _request(line: str) -> tuple[str, str]:
    """The name of the macro that a line calls and what follows; no name for text."""
    if line[:1] not in (".", "'"):
        return "", line
    body = line[1:].lstrip()
    if body.startswith('\\"'):
        return "\\", ""
    name, rest = _NAME.match(body).groups()  # type: ignore[union-attr]
    return name, rest.strip()


class _Page:
    """The lines of text that were made so far."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.filling = False  # whether the next text goes on in the last line
        self.verbatim = False

    def add(self, text: str) -> None:
        if self.filling and not self.verbatim and self.lines:
            self.lines[-1] += ("" if self.lines[-1].endswith((" ", "\u200b")) or not text else " ") + text
        else:
            self.lines.append(text)
        self.filling = True

    def end(self) -> None:
        self.filling = False


def _paragraphs(lines: Iterator[str], strings: Strings) -> Iterator[str]:
    page = _Page()
    tag = 0  # 1: the next line is the tag of an item, after which the text begins anew
    for line in lines:
        name, rest = _request(line)
        before = len(page.lines)
        if not name:
            page.add(plain(line, strings) if page.verbatim else plain(line, strings).strip()) if line.strip() else _blank(page)
        elif name in _VERBATIM:
            page.verbatim = _VERBATIM[name]
            page.end()
        elif name == "TS":
            page.lines += _table(lines, strings)
            page.end()
        elif name == "EQ":
            for row in lines:
                if row.startswith(".EN"):
                    break
        elif name in _HEADING:
            page.lines += ["", " ".join(arguments(rest or next(lines, ""), strings))]
            page.end()
        elif name in ("TH", "Dt"):
            words = arguments(rest, strings)
            page.lines.append(f"{words[0]}({words[1]})" if len(words) > 1 else " ".join(words))
            page.end()
        elif name in _BREAK:
            _break(page, name, rest, strings)
        elif name in _JOINING:
            page.add("".join(arguments(rest, strings)))
        elif name in _FONT:
            page.add(" ".join(arguments(rest or next(lines, ""), strings)))
        elif name in ("UR", "MT", "URL", "MTO"):
            page.add(" ".join(arguments(rest, strings)))
        elif name in ("UE", "ME") and rest and page.lines:
            page.lines[-1] += plain(rest, strings)
        else:
            said = mdoc_line(name, rest, strings)
            if said:
                page.add(said)
        if tag and len(page.lines) > before - 1 and page.filling:
            page.end()
            tag = 0
        tag = 1 if name in ("TP", "TQ") else tag
    yield from (line.replace("\u200b", "") for line in page.lines)


def _blank(page: _Page) -> None:
    page.lines.append("")
    page.end()


def _break(page: _Page, name: str, rest: str, strings: Strings) -> None:
    """A new paragraph or item begins."""
    page.end()
    if name in ("Bd", "Ed"):
        page.verbatim = name == "Bd" and ("-literal" in rest or "-unfilled" in rest)
    if name in ("PP", "LP", "P", "Pp", "sp", "Sp") and page.lines and page.lines[-1]:
        page.lines.append("")
    if name == "IP":
        words = arguments(rest, strings)
        if words and words[0]:
            page.add(words[0])
            if len(words[0]) > 2:  # else a bullet or number, which stays before its text
                page.end()
    elif name in ("It", "D1", "Dl", "SY"):
        said = mdoc_line(name, rest, strings)
        if said:
            page.add(said)
            page.end()


def _table(lines: Iterator[str], strings: Strings) -> list[str]:
    """The rows of a table, their cells with tabs between."""
    rows: list[str] = []
    separator, begun, cell = "\t", False, False
    for line in lines:
        if line.startswith(".TE"):
            break
        if not begun:  # options end with a semicolon, the formats of columns with a full stop
            found = re.search(r"tab\s*\((.)\)", line)
            separator = found[1] if found else separator
            begun = line.rstrip().endswith(".")
            continue
        if line.startswith(".T&"):
            begun = False
            continue
        name, rest = _request(line)
        if name:
            words = arguments(rest, strings)
            text = ("" if name in _JOINING else " ").join(words) if name in _JOINING | _FONT else mdoc_line(name, rest, strings)
        else:
            text = plain(line, strings)
        if not text or set(text.strip()) <= {"_", "="}:
            continue
        ends = text.startswith("T}")
        text = text.removeprefix("T}")
        opens = text.endswith("T{")
        text = text.removesuffix("T{")
        if cell and rows:
            rows[-1] += text if ends or rows[-1].endswith(separator) else f" {text}"
        else:
            rows.append(text)
        cell = opens or (cell and not ends)
    return [row.replace(separator, "\t").strip() for row in rows]
