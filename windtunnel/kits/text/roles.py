"""What names do in Python code: a label for each that can be told from what stands around it."""

from __future__ import annotations

import io
import keyword
import tokenize
from typing import NamedTuple

ROLES = ("keyword", "defined", "imported", "method", "attribute", "called", "argument", "assigned", "read")


class Name(NamedTuple):
    """A name at a place of the text, and the number of its role in :data:`ROLES`."""

    begin: int
    role: int


def names(text: str) -> list[Name]:
    """The names in ``text`` in order; only those before the first place that is no Python.

    A name behind ``def`` or ``class`` is defined, one of an import statement imported. Behind a dot it is a method where a bracket follows,
    else an attribute. Of the others, one that a bracket follows is called, and one that ``=`` follows is an argument inside brackets, else
    assigned.
    """
    starts = [0]
    for line in io.StringIO(text):  # as the lines are counted below; splitlines ends them at form feeds too
        starts.append(starts[-1] + len(line))
    found: list[Name] = []
    before, depth, imports = "", 0, False
    last: tuple[str, int, str, int, bool] | None = None  # a name that waits for what follows it: text, place, before, depth, imports
    try:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type in (tokenize.COMMENT, tokenize.NL, tokenize.INDENT, tokenize.DEDENT):
                continue
            if last is not None:
                found.append(Name(last[1], ROLES.index(_role(last[0], last[2], token.string, last[3], last[4]))))
                last = None
            if token.type == tokenize.NEWLINE:
                imports, before = False, ""
                continue
            imports = imports or (before == "" and token.string in ("import", "from"))
            depth += (token.string in "([{") - (token.string in ")]}") if token.type == tokenize.OP else 0
            if token.type == tokenize.NAME:
                last = token.string, starts[token.start[0] - 1] + token.start[1], before, depth, imports
            before = token.string
    except (tokenize.TokenError, SyntaxError):
        pass
    return found


def _role(name: str, before: str, after: str, depth: int, imports: bool) -> str:
    if keyword.iskeyword(name):
        return "keyword"
    if before in ("def", "class"):
        return "defined"
    if imports:
        return "imported"
    if before == ".":
        return "method" if after == "(" else "attribute"
    if after == "(":
        return "called"
    if after == "=":
        return "argument" if depth else "assigned"
    return "read"
