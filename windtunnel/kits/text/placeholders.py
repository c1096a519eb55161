"""Names in rows of tokens replaced by placeholders, and put back."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

Rows = NDArray[Any]


def abstracted(rows: Rows, first: int, end: int) -> tuple[Rows, list[list[int]]]:
    """``rows`` whose tokens from ``first`` to before ``end`` are ``first``, ``first`` + 1 ... as they come, and what each stood for."""
    found, back = rows.copy(), []
    for row in found:
        names: list[int] = []
        for place, token in enumerate(row.tolist()):
            if first <= token < end:
                if token not in names:
                    names.append(token)
                row[place] = first + names.index(token)
        back.append(names)
    return found, back


def restored(rows: Rows, back: list[list[int]], first: int) -> Rows:
    """The inverse of :func:`abstracted`; a placeholder that stood for nothing stays."""
    found = rows.copy()
    for row, names in zip(found, back, strict=True):
        for place, token in enumerate(row.tolist()):
            if first <= token < first + len(names):
                row[place] = names[token - first]
    return found
