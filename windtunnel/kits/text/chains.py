"""Texts of a Markov chain, in which a word depends on the one before it alone."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from windtunnel.kits.vectors import picked


def followed(chain: NDArray[Any], first: NDArray[Any], length: int, random: np.random.Generator) -> NDArray[np.int64]:
    """Texts [texts, length] that begin with the words ``first`` [texts]; ``chain`` [words, words] says how often each follows each."""
    found = np.zeros((len(first), length), np.int64)
    found[:, 0] = first
    for place in range(1, length):
        found[:, place] = picked(chain[found[:, place - 1]], random)
    return found
