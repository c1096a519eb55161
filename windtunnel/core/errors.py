"""What the user can put right, and how a misspelt name is answered."""

from __future__ import annotations

import contextlib
import difflib
import errno
import math
import re
import reprlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)  # after which nothing else could be written either
ADVICE = {
    errno.ENOSPC: "the disk is full; free some space and give the same command again: finished work is kept",
    errno.EDQUOT: "the disk quota is used up; free some space and give the same command again: finished work is kept",
    errno.EROFS: "the file system is read-only; choose another folder with --out",
    errno.EACCES: "permission denied; choose another folder with --out, or change its permissions",
    errno.ENOTDIR: "a file stands where a folder should; choose another folder with --out",
    errno.EEXIST: "a file stands where a folder should; choose another folder with --out",
    errno.EPERM: "not permitted; choose another folder with --out, or change its permissions",
}


# What a value has to be, by the beginning of the type of pydantic's error.
WANTED = {
    "int": "a whole number",
    "float": "a number",
    "string": "text",
    "bool": "true or false",
    "tuple": "a list",
    "list": "a list",
    "dict": "a mapping",
    "model": "a mapping",
}


# How the bounds of a number are told, and under which key pydantic's error holds them.
BOUNDS = {
    "greater_than": ("above", "gt"),
    "greater_than_equal": ("of at least", "ge"),
    "less_than": ("below", "lt"),
    "less_than_equal": ("of at most", "le"),
}
MANY = 40  # names, more of which nobody reads in a message


class UserError(Exception):
    """Something the user can mend: bad input, a full disk, an unknown name. The command line prints it and exits with code 2."""

    kind: str = "user"  # of the failure that it becomes; see core/typed.py


@contextlib.contextmanager
def needing(what: str, library: str, extra: str) -> Iterator[None]:
    """Let an import that fails say what to install. Raises UserError: ``what`` needs ``library``, which the extra ``extra`` brings."""
    try:
        yield
    except ImportError as error:
        raise UserError(f"{what} needs {library}: pip install 'windtunnel[{extra}]'") from error


class DiskError(UserError):
    """What the disk refused; ``number`` is the system's errno. Where there is no room left the message says what to do."""

    def __init__(self, message: str, number: int | None = None) -> None:
        room = number in NO_ROOM
        super().__init__(f"{message}: {ADVICE[number]}" if number is not None and room else message)
        self.number = number
        self.kind = "disk" if room else "user"


class SourceError(UserError):
    """What is wrong with the documents of the source ``source``; ``more`` says whether more of them could be otherwise."""

    def __init__(self, message: str, source: str | None = None, *, more: bool = True) -> None:
        super().__init__(message)
        self.source, self.more = source, more


class PartError(UserError):
    """A part that found nothing to act on, or that refuses what it was asked for."""


class Diverged(Exception):
    """The loss of a run is no longer a finite number."""

    kind: ClassVar[str] = "diverged"


def nearest(word: str, known: Iterable[str]) -> str:
    """A sentence that helps with a misspelt ``word``: the closest valid spelling, then what is valid, where there are :data:`MANY` some."""
    names = sorted(known)
    close = difflib.get_close_matches(str(word), names, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]!r}?" if close else ""
    if len(names) <= MANY:
        return f"{hint} known: {', '.join(names) or 'none'}".lstrip()
    return hint or f"known: {', '.join(difflib.get_close_matches(str(word), names, n=5, cutoff=0.0))} and {len(names) - 5:,} more"


def with_article(name: str) -> str:
    """``name`` with the article before it."""
    return f"{'an' if name[:1] in 'AEIOUaeiou' else 'a'} {name}"


def several(number: int, what: str) -> str:
    """``1 run``, ``2 runs``, ``1,200 runs``."""
    return f"{number:,} {what}{'s' * (number != 1)}"


def told(problem: Mapping[str, Any]) -> str:
    """What is wrong with a value, of an entry of ``ValidationError.errors()``, in the words of this program where they are better."""
    kind, given = str(problem["type"]), problem["input"]
    if kind == "missing":
        return "must be given"
    if kind == "literal_error":
        choices = re.findall(r"'([^']*)'", problem["ctx"]["expected"])
        return f"{given!r} is not one of the choices; {nearest(str(given), choices)}"
    if (bound := BOUNDS.get(kind)) is not None:
        word, key = bound
        return f"expected a number {word} {problem['ctx'][key]:g}, not {reprlib.repr(given)}"
    if kind in ("string_too_short", "too_short"):
        one, more = ("letter", "letters") if kind.startswith("string") else ("entry", "entries")
        least = problem["ctx"]["min_length"]
        return f"expected at least {least} {one if least == 1 else more}, not {reprlib.repr(given)}"
    if kind in ("finite_number", "int_parsing_size"):
        if isinstance(given, (int, float)) and math.isfinite(given):  # a whole number of more than 64 bits
            return f"expected a number below {2**63:.2g}, not {reprlib.repr(given)}"
        return f"expected a finite number, not {reprlib.repr(given)}"
    wanted = WANTED.get(kind.partition("_")[0])
    if wanted is not None and kind.endswith(("_type", "_parsing", "_from_float")):
        return f"expected {wanted}, not {reprlib.repr(given)}"
    return str(problem["msg"]).removeprefix("Value error, ")
