"""Items each of which is followed by one other, round in a circle: a rule that lists follow, learned in seconds."""

from __future__ import annotations

import numpy as np


def circle(items: int, random: np.random.Generator) -> np.ndarray:
    """The item that follows each, int64 [items]; all lie on one circle."""
    order = random.permutation(items)
    after = np.zeros(items, int)
    after[order] = np.roll(order, -1)
    return after


def chain(begin: int, count: int, after: np.ndarray) -> list[int]:
    """``count`` items from ``begin`` on."""
    found = [begin]
    while len(found) < count:
        found.append(int(after[found[-1]]))
    return found
