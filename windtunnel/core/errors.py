"""What the user can put right, and how a misspelt name is answered."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Something the user can mend: bad input, a full disk, an unknown name. The command line prints it and exits with code 2."""


class DiskError(UserError):
    """What the disk refused; ``number`` is the system's errno, which says why."""

    def __init__(self, message: str, number: int | None = None) -> None:
        super().__init__(message)
        self.number = number


class PartError(UserError):
    """A part that found nothing to act on, or that refuses what it was asked for."""


def nearest(word: str, known: Iterable[str]) -> str:
    """A sentence that helps with a misspelt ``word``: the closest valid spelling, then everything that is valid."""
    names = sorted(known)
    close = difflib.get_close_matches(str(word), names, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}known: {', '.join(names) or 'none'}"
