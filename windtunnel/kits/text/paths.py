"""An order of documents in which each stands near to others like it, and no document comes twice."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from windtunnel.kits.vectors import unit

Rows = NDArray[Any]


BLOCK = 2048  # documents that are compared with all others at a time


def neighbours(vectors: Rows, most: int) -> list[dict[int, float]]:
    """Of each document its edges: others and the cosine with them, where one is among the ``most`` nearest of the other."""
    rows = unit(vectors)
    edges: list[dict[int, float]] = [{} for _ in rows]
    most = min(most, len(rows) - 1)
    for start in range(0, len(rows), BLOCK):
        alike = rows[start : start + BLOCK] @ rows.T
        own = np.arange(len(alike))
        alike[own, start + own] = -np.inf
        nearest = np.argpartition(-alike, most - 1, axis=1)[:, :most] if most else np.zeros((len(alike), 0), int)
        for one, near in enumerate(nearest.tolist()):
            for two in near:
                edges[start + one][two] = edges[two][start + one] = float(alike[one, two])
    return edges


def path(edges: list[dict[int, float]]) -> list[int]:
    """All documents, each once (Shi et al. 2024, arXiv:2310.10638, algorithm 1).

    It begins at a document with the fewest neighbours, goes on to the likest neighbour that was not visited, and where there is none jumps
    to an unvisited document with the fewest. The paper prints argmin where its text and figure have the likest; its code takes any
    unvisited document at a jump. Degrees are those of the whole graph.
    """
    waiting = sorted(range(len(edges)), key=lambda one: (len(edges[one]), one))
    found: list[int] = []
    visited, place = [False] * len(edges), 0
    while len(found) < len(edges):
        while visited[waiting[place]]:
            place += 1
        here: int | None = waiting[place]
        while here is not None:
            visited[here] = True
            found.append(here)
            open_ = [(-weight, other) for other, weight in edges[here].items() if not visited[other]]
            here = min(open_)[1] if open_ else None
    return found


def without_copies(vectors: Rows, threshold: float) -> list[int]:
    """Places of the documents that are not nearly the same as one before them, by the cosine."""
    rows = unit(vectors)
    near = np.tril(rows @ rows.T > threshold, -1)
    kept: list[int] = []
    for place in range(len(vectors)):
        if not near[place, kept].any():
            kept.append(place)
    return kept
