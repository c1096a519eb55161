"""What is done with rows of numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def unit(rows: NDArray[Any]) -> NDArray[Any]:
    """``rows`` [rows, width] with length 1; rows of zeros stay as they are."""
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12))


def softmax(logits: NDArray[Any]) -> NDArray[Any]:
    """Of each row, along the last axis."""
    odds = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(odds / odds.sum(axis=-1, keepdims=True))


def picked(odds: NDArray[Any], random: np.random.Generator) -> NDArray[np.int64]:
    """A column of each row of ``odds`` [rows, columns], which add up to 1: [rows]. It takes one number of ``random`` a row."""
    return np.asarray((odds.cumsum(axis=1) < random.random((len(odds), 1))).sum(axis=1).clip(max=odds.shape[1] - 1))
