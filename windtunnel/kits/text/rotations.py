"""Angles that rotary positions reach, and which way of scaling keeps each pair of dimensions nearest to those it was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

MOST_BINS = 360  # as the authors' code has it
EMPTY = 1e-9  # stands in a bin that no angle falls into, so that no logarithm is of zero


def frequencies(base: float, dimensions: int) -> np.ndarray:
    """Radians a position adds in each pair of ``dimensions``, [dimensions / 2]."""
    import numpy as np

    return base ** -(np.arange(0, dimensions, 2) / dimensions)


def angles(frequency: float, length: int, bins: int) -> np.ndarray:
    """The share of positions 0 to ``length`` - 1 whose angle falls into each of ``bins`` equal parts of the circle."""
    import numpy as np

    turned = np.arange(length) * frequency % (2 * np.pi)
    return np.histogram(turned, bins, (0.0, 2 * np.pi))[0] / length + EMPTY


def disturbance(frequency: float, factor: float, original: int, length: int, bins: int) -> float:
    """How far the angles of ``length`` positions at ``frequency / factor`` are from those of ``original`` positions at ``frequency``.

    The Kullback-Leibler divergence in nats, as a mean over bins.
    """
    import numpy as np

    before, after = angles(frequency, original, bins), angles(frequency / factor, length, bins)
    return float(np.mean(before * np.log(before / after)))


def least_disturbing(base: float, dimensions: int, original: int, length: int, candidates: Sequence[float]) -> list[float]:
    """For each pair of dimensions, which of the factors ``candidates`` disturbs its angles least where ``length`` positions are read.

    Bins are at most an eighth of ``original``: with more, most are empty, and how empty ones are counted decides. Ties go to
    the first: angles that stay within one bin are told apart by none.
    """
    bins = max(2, min(MOST_BINS, original // 8))
    return [min(candidates, key=lambda factor: disturbance(one, factor, original, length, bins)) for one in frequencies(base, dimensions)]
