"""Embeddings of documents by their hashed words, and what moving one set of them to another costs (entropic optimal transport)."""

from __future__ import annotations

import numpy as np

from windtunnel.kits.text.words import Ragged
from windtunnel.kits.vectors import unit

CHUNK = 1 << 22  # costs held at once


def embedded(found: Ragged, buckets: int, rank: int, random: np.random.Generator) -> np.ndarray | None:
    """Each document as a point of unit length, float64 [documents, at most ``rank``]: singular vectors of its features.

    Features count as the root of how often they occur, the less the more documents have them. None where all documents are alike in that,
    or there are too few of them.
    """
    from scipy.sparse import csr_array
    from scipy.sparse.linalg import svds

    count = len(found.ends)
    values = np.asarray(found.values, np.int64)
    matrix = csr_array((np.ones(len(values)), values, np.append(0, found.ends)), shape=(count, buckets))
    matrix.sum_duplicates()
    seen = np.bincount(matrix.indices, minlength=buckets)
    matrix.data = np.sqrt(matrix.data) * np.log(count / np.maximum(1, seen))[matrix.indices]
    rank = min(rank, min(matrix.shape) - 1)
    if rank < 1 or not matrix.data.any():
        return None
    left, size, _ = svds(matrix, k=rank, random_state=int(random.integers(1 << 31)))
    return unit(left * size)


def potentials(
    points: np.ndarray, masses: np.ndarray, wanted: np.ndarray, *, blur: float = 0.05, most: int = 200, close: float = 1e-4
) -> np.ndarray:
    """What one more unit of mass at each of ``points`` [N, rank] adds to the cost of moving them to ``wanted`` [M, rank], up to a constant.

    These are the dual potentials of entropic optimal transport (Cuturi 2013, arXiv:1306.0895) for the cost 1 - cosine of points of unit
    length, by Sinkhorn's iterations in logarithms. ``masses`` [N] are those of the points in any unit; all of ``wanted`` weigh alike.
    ``blur`` is the entropic term as a share of the mean cost. It ends when no potential of ``wanted`` moves by more than ``close`` mean
    costs, or after ``most`` iterations. Costs are computed anew in chunks, so memory does not grow with N times M.
    """
    log_mass, rows = np.log(masses / masses.sum()), max(1, CHUNK // len(wanted))
    mean = float(1 - points.T @ (masses / masses.sum()) @ wanted.mean(axis=0))
    scale = blur * max(mean, 1e-12)
    other = np.zeros(len(wanted))
    own = np.zeros(len(points))
    for _ in range(most):
        gathered = np.full(len(wanted), -np.inf)
        for first in range(0, len(points), rows):
            part = slice(first, first + rows)
            cost = 1 - points[part] @ wanted.T
            own[part] = -scale * (_log_sum((other - cost) / scale, 1) - np.log(len(wanted)))
            gathered = np.logaddexp(gathered, _log_sum(log_mass[part, None] + (own[part, None] - cost) / scale, 0))
        before, other = other, -scale * gathered
        if np.abs(other - before).max() <= close * mean:
            break
    return own


def _log_sum(values: np.ndarray, axis: int) -> np.ndarray:
    highest = values.max(axis=axis, keepdims=True)
    found: np.ndarray = np.log(np.exp(values - highest).sum(axis=axis)) + highest.squeeze(axis)
    return found
