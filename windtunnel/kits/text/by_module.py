"""Lines and passages of Python's docstrings with the module that each is of: for networks that learn from them, and probes that tell it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from windtunnel.core.errors import PartError
from windtunnel.kits.ridge import ridge

BLANK, MASK, START, END, UNKNOWN, WORD = range(6)  # tokens; words, the most frequent one first, follow
CLASSES = 12  # modules that are told apart: those with most rows
RIDGES = (1e-2, 1e-1, 1.0)
Rows = NDArray[Any]


class ProbeRows(NamedTuple):
    """How many rows of each module a probe learns from, is chosen on and is judged on."""

    learned: int
    choosing: int
    judged: int


def rows_by_module(part: str, texts: Sequence[str], words: int, length: int, least: int, by_line: bool) -> tuple[Rows, Rows]:
    """Rows of tokens of ``texts``, one each module, int64 [rows, length], different within a module, and the number of each one's module.

    The module with most rows is 0. A row is the first ``length`` words of a line, or with ``by_line`` false of a passage of so many
    words; it has ``least`` words or more. The ``words`` most frequent ones are known, and blanks stand behind. Raises PartError, for
    ``part``, where there are too few texts.
    """
    told = list[tuple[tuple[str, ...], int]]()
    for number, text in enumerate(texts):
        if by_line:
            pieces = [tuple(re.findall("[a-z]+", line.lower())[:length]) for line in text.splitlines()]
        else:
            every = re.findall("[a-z]+", text.lower())
            pieces = [tuple(every[place : place + length]) for place in range(0, len(every), length)]
        told += [(piece, number) for piece in dict.fromkeys(pieces) if len(piece) >= least]
    if len({number for _, number in told}) < CLASSES:
        raise PartError(f"{part}: this Python has too few docstrings, as when it was installed without sources")
    often = dict[str, int]()
    for piece, _ in told:
        for word in piece:
            often[word] = often.get(word, 0) + 1
    known = {word: WORD + place for place, word in enumerate(sorted(often, key=lambda word: (-often[word], word))[:words])}
    rows = np.full((len(told), length), BLANK)
    for row, (piece, _) in zip(rows, told, strict=True):
        row[: len(piece)] = [known.get(word, UNKNOWN) for word in piece]
    size = np.bincount([number for _, number in told], minlength=len(texts))
    rank = np.argsort(np.argsort(-size, kind="stable"), kind="stable")
    return rows, rank[[number for _, number in told]]


def split(part: str, rows: Rows, modules: Rows, probe: ProbeRows, random: np.random.Generator) -> tuple[dict[str, Rows], dict[str, Rows]]:
    """Rows ``learned``, ``choosing`` and ``judged`` of CLASSES modules, as many of each, and all others, ``trained``; and their modules.

    Raises PartError, for ``part``, where a module has not twice as many as the probe takes.
    """
    places: dict[str, list[int]] = {name: [] for name in probe._fields}
    for module in range(CLASSES):
        own, begin = random.permutation(np.flatnonzero(modules == module)), 0
        if len(own) < 2 * sum(probe):
            raise PartError(f"{part}: a module of this Python's docstrings has {len(own)} rows; the probe needs {2 * sum(probe)}")
        for name, count in zip(probe._fields, probe, strict=True):
            places[name] += own[begin : begin + count].tolist()
            begin += count
    taken = {tuple(row) for some in places.values() for row in rows[some].tolist()}
    places["trained"] = [place for place, row in enumerate(rows.tolist()) if tuple(row) not in taken]
    return {name: rows[some] for name, some in places.items()}, {name: modules[some] for name, some in places.items()}


def counts(rows: Rows, words: int) -> Rows:
    """How often each token stands in each row, [rows, tokens]."""
    found = np.zeros((len(rows), WORD + words))
    np.add.at(found, (np.arange(len(rows))[:, None], rows), rows != BLANK)
    return found


def probed(vectors: dict[str, Rows], modules: dict[str, Rows]) -> tuple[float, float]:
    """The share right of a ridge regression on rows to choose on and to be judged on; the ridge is that which is best on the first."""
    mean, spread = vectors["learned"].mean(axis=0), vectors["learned"].std(axis=0) + 1e-6
    read = {name: np.concatenate([(each - mean) / spread, np.ones((len(each), 1))], axis=1) for name, each in vectors.items()}
    known = read["learned"]
    found = []
    for strength in RIDGES:
        weights = ridge(known, np.eye(CLASSES)[modules["learned"]], strength * len(known))
        choosing, judged = ((read[name] @ weights).argmax(axis=1) == modules[name] for name in ("choosing", "judged"))
        found.append((float(choosing.mean()), float(judged.mean())))
    return max(found, key=lambda pair: pair[0])
