"""Small programs that clean a document: which lines go, which strings are replaced, or that all of it goes.

A program is lines of calls: ``drop_doc()``, ``keep_doc()``, ``remove_lines(line_start=3, line_end=5)`` (both ends go, lines are counted
from 0), ``remove_lines(all=True)``, ``normalize(source_str="[edit]", target_str="")`` and ``keep_all()``. Nothing is evaluated: a call is
parsed as Python's syntax, and only these names with constants for arguments are known. Zhou et al. 2024 (ProX), arXiv:2409.17115, whose
parser breaks at strings with a comma, an equals sign or a closing bracket, and skips a call of three parts without a word; here such
strings are as good as others, and what cannot be read is an error that is counted.
"""

from __future__ import annotations

import ast
from typing import Any, NamedTuple

KNOWN = {  # by call, the arguments that it may have
    "drop_doc": (),
    "keep_doc": (),
    "keep_all": (),
    "remove_lines": ("line_start", "line_end", "all"),
    "normalize": ("source_str", "target_str"),
}
LONGEST = 1000  # characters of a call; a longer one is an error, so that parsing stays cheap


class Refined(NamedTuple):
    """The text that is left (None: the document goes), how many calls could not be followed, and why it came out so."""

    text: str | None
    errors: int
    why: str


def call_of(line: str) -> tuple[str, dict[str, Any]] | None:
    """The name and arguments of a call, or None where it is none that is known."""
    if len(line) > LONGEST:
        return None
    try:
        tree = ast.parse(line.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    if not isinstance(tree, ast.Call) or not isinstance(tree.func, ast.Name) or tree.func.id not in KNOWN:
        return None
    names = KNOWN[tree.func.id]
    if len(tree.args) > len(names):
        return None
    found: dict[str, Any] = {}
    given = [*zip(names, tree.args, strict=False), *((one.arg, one.value) for one in tree.keywords)]
    for name, value in given:
        if name not in names or name in found or not isinstance(value, ast.Constant):
            return None
        found[name] = value.value
    return (tree.func.id, found) if _complete(tree.func.id, found) else None


def _complete(name: str, given: dict[str, Any]) -> bool:
    """Whether a call has what it needs, of the right kinds."""
    if name == "normalize":
        return bool(given.get("source_str")) and all(isinstance(value, str) for value in given.values())
    if name != "remove_lines":
        return True
    if set(given) == {"all"}:
        return given["all"] is True
    start, end = given.get("line_start"), given.get("line_end")
    return "all" not in given and type(start) is int and type(end) is int and 0 <= start <= end


def refined(text: str, program: str) -> Refined:
    """``text`` after ``program``: all replacements first, in order, then all removals.

    It is accepted as in the paper's code: where at most a twentieth of the words is left and fewer than two calls failed, or ten words or
    fewer are left, the document goes; where two calls or more failed, it stays as it was.
    """
    errors, gone, replaced = 0, set[int](), text
    calls = [call_of(line) for line in program.splitlines() if line.strip()]
    if ("drop_doc", {}) in calls:
        return Refined(None, calls.count(None), "dropped by its program")
    for call in calls:
        if call is None:
            errors += 1
        elif call[0] == "normalize":
            replaced = replaced.replace(call[1]["source_str"], call[1].get("target_str", ""))
    lines = replaced.split("\n")
    for call in calls:
        if call is not None and call[0] == "remove_lines":
            if "all" in call[1]:
                gone.update(range(len(lines)))
            elif call[1]["line_end"] >= len(lines):
                errors += 1
            else:
                gone.update(range(call[1]["line_start"], call[1]["line_end"] + 1))
    left = "\n".join(line for number, line in enumerate(lines) if number not in gone)
    words, before = len(left.split()), len(text.split())
    if words <= 0.05 * before and errors < 2:
        return Refined(None, errors, "hardly a word is left")
    if words <= 10:
        return Refined(None, errors, "ten words or fewer are left")
    return Refined(text, errors, "its program failed") if errors >= 2 else Refined(left, errors, "refined")


def removals(lines: list[bool]) -> list[str]:
    """Calls that remove the lines that are true, one for each run of them."""
    found, start = [], None
    for number, one in enumerate([*lines, False]):
        if one and start is None:
            start = number
        elif not one and start is not None:
            found.append(f"remove_lines(line_start={start}, line_end={number - 1})")
            start = None
    return found
