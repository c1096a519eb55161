"""Experts of low rank, and rows that are compared by their products."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class Domain:
    """Inputs of one domain, and the matrix [width, width] of low rank that they need.

    Inputs have a mean of length ``apart`` and vary by 1, in ``inside`` dimensions of their own by ``louder``, where the matrix acts.
    """

    def __init__(self, random: np.random.Generator, *, width: int, inside: int, louder: float, apart: float, rank: int) -> None:
        self.random, self.louder = random, louder
        self.axes = np.linalg.qr(random.standard_normal((width, width)))[0][:, :inside]
        self.mean = apart * random.standard_normal(width) / width**0.5
        found = random.standard_normal((width, rank)) @ random.standard_normal((rank, inside)) @ self.axes.T
        self.needs: Array = found / np.linalg.norm(found) * width**0.5

    def inputs(self, count: int) -> Array:
        """``count`` inputs [count, width]."""
        some = self.random.standard_normal((count, len(self.mean)))
        return np.asarray(some + (self.louder - 1) * some @ self.axes @ self.axes.T + self.mean)


def fitted(given: Array, out: Array, rank: int) -> Array:
    """The matrix [out, in] of least squared error with at most this rank (reduced-rank regression)."""
    whole = np.linalg.lstsq(given, out, rcond=None)[0]
    across = np.linalg.svd(given @ whole, full_matrices=False)[2][:rank]
    return np.asarray((whole @ across.T @ across).T)


def standardised(rows: Array) -> Array:
    """Rows of mean 0 and variance 1."""
    return np.asarray((rows - rows.mean(axis=1, keepdims=True)) / np.maximum(rows.std(axis=1, keepdims=True), 1e-12))
