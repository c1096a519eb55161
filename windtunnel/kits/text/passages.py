"""Passages of this Python's documentation, each with the package it is of: a small task of real text that every machine has."""

from __future__ import annotations

import collections
import re
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from windtunnel.core.errors import PartError

WORDS = 20  # of a passage
RARE = 3  # passages that a word has to stand in, to be one of the vocabulary


class Passages(NamedTuple):
    """``counts`` float32 [passages, words]: how often each word stands in each; ``package`` int64 [passages]; the ``names`` of packages."""

    counts: NDArray[np.float32]
    package: NDArray[np.int64]
    names: tuple[str, ...]


def passages(documents: Iterable[tuple[str, str]], packages: int, part: str) -> Passages:
    """Of ``documents``, each a text and its module's file, those of the packages with most of them.

    Raises PartError, for ``part``, where there are too few.
    """
    found: dict[str, list[list[str]]] = collections.defaultdict(list)
    for text, place in documents:
        name, inside, _ = place.partition("/")
        words = re.findall("[a-z]{2,}", text.lower())
        if inside:
            found[name] += [words[begin : begin + WORDS] for begin in range(0, len(words) - WORDS + 1, WORDS)]
    names = tuple(sorted(sorted(found, key=lambda name: (-len(found[name]), name))[:packages]))
    if len(names) < packages or min(len(found[name]) for name in names) < 2 * WORDS:
        raise PartError(f"{part}: this Python documents fewer than {packages} packages, as when it was installed without sources")
    rows = [words for name in names for words in found[name]]
    among = collections.Counter(word for words in rows for word in set(words))
    kept = sorted(word for word, count in among.items() if count >= RARE and word not in names)
    number = {word: place for place, word in enumerate(kept)}
    counts = np.zeros((len(rows), len(number)), np.float32)
    for row, words in enumerate(rows):
        np.add.at(counts[row], [number[word] for word in words if word in number], 1)
    package = np.repeat(np.arange(packages), [len(found[name]) for name in names])
    return Passages(counts, package, names)
