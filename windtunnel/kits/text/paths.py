"""An order of documents in which each stands near to others like it, and no document comes twice."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.float64]


def neighbours(vectors: Rows, most: int) -> list[dict[int, float]]:
    """Of each document its edges: others and the cosine with them, where one is among the ``most`` nearest of the other."""
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    alike = unit @ unit.T
    np.fill_diagonal(alike, -np.inf)
    edges: list[dict[int, float]] = [{} for _ in vectors]
    for one, near in enumerate(np.argsort(-alike, axis=1, kind="stable")[:, :most]):
        for two in near.tolist():
            edges[one][two] = edges[two][one] = float(alike[one, two])
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
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    near = np.tril(unit @ unit.T > threshold, -1)
    kept: list[int] = []
    for place in range(len(vectors)):
        if not near[place, kept].any():
            kept.append(place)
    return kept
