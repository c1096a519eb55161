"""How much a difference would move with other held-out documents: a paired bootstrap over them. Pure functions on plain numbers.

Seeds tell how much a difference moves when the training is repeated and the documents stay. The documents are a sample too, the same for
every arm and seed, so they are the paired unit: what one adds to the arm and what it adds to the baseline are drawn together. A number
is a ratio of sums, all bits over all bytes, so each draw is of sums and never of ratios (Efron and Tibshirani 1993).

The interval is the studentised one (bootstrap t; Hall 1988, Annals of Statistics 16): each draw is measured in its own standard error,
so that long documents, which carry most of a ratio, do not make it too narrow. Of 500 studies of 30 documents whose sizes are lognormal
(sigma 1.2) and whose difference depends on their size, its 95 % interval held the truth in 90 %, that of percentiles in 86 % and the
corrected one (BCa) in 84 %; with documents of one size in 96, 94 and 93 %.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from windtunnel.slots import ByDocument
from windtunnel.study.statistics.compare import Interval

DRAWS = 2000
LEAST = 8  # documents: fewer say too little of what others would be like
ROOM = 1 << 21  # numbers that are drawn at once


def over_documents(arm: Sequence[ByDocument], baseline: Sequence[ByDocument], confidence: float) -> Interval | None:
    """The interval of the mean of ``arm - baseline`` over documents; position ``i`` of both is the same seed.

    Each seed's number is its bits over its bytes. All seeds of an arm read the same bytes of a document, so that the mean over seeds is a
    ratio of sums too. The order of documents does not matter. ``n`` counts the documents, or groups of them.

    Returns:
        None with fewer than 8 documents, and where all say the same.
    """
    one, other = ByDocument.together(arm), ByDocument.together(baseline)
    units = np.union1d(one.unit, other.unit)
    if len(units) < LEAST:
        return None
    columns = np.zeros((len(units), 4))
    for place, found in ((0, one), (2, other)):
        columns[np.searchsorted(units, found.unit), place : place + 2] = np.stack([found.above, found.below], axis=1)
    (mean,), (error,) = _statistic(np.ones((1, len(units))), columns)
    if error <= 1e-12 * abs(columns[:, 0].sum() / columns[:, 1].sum()):
        return None
    drawn, errors = map(np.concatenate, zip(*(_statistic(weights, columns) for weights in _drawn(len(units))), strict=True))
    moved = (drawn - mean) / np.maximum(errors, 1e-9 * error)
    low, high = np.quantile(moved, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(mean), float(mean - high * error), float(mean - low * error), len(units), float(error * math.sqrt(len(units))))


def _statistic(weights: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The difference of two ratios and its standard error where each document counts ``weights`` [draws, documents] times.

    ``columns`` [documents, 4] are above and below of the one, then of the other. The error is that of ratios as they depend on what each
    document adds when that is little (Cochran 1977, Sampling Techniques, section 6.4).
    """
    count = weights.shape[1]
    above, below, other_above, other_below = np.maximum(weights @ columns, 1e-300).T
    ratio, other_ratio = above / below, other_above / other_below
    # A document adds the sum of its four columns by these; the square of that is a sum of products of two columns.
    factors = np.stack([1 / below, -ratio / below, -1 / other_below, other_ratio / other_below], axis=1)
    one, two = np.triu_indices(4)
    products = weights @ (columns[:, one] * columns[:, two])
    squares = (products * factors[:, one] * factors[:, two] * np.where(one == two, 1.0, 2.0)).sum(axis=1)
    return ratio - other_ratio, np.sqrt(np.maximum(squares, 0.0) * count / (count - 1))


def _drawn(count: int) -> Iterable[np.ndarray]:
    """How often each of ``count`` documents is drawn, [draws, count], in blocks; the same whenever they are as many."""
    return _kept(count) if count * DRAWS <= ROOM else _blocks(count)


@functools.lru_cache(maxsize=2)
def _kept(count: int) -> tuple[np.ndarray, ...]:
    return tuple(_blocks(count))


def _blocks(count: int) -> Iterator[np.ndarray]:
    random, rows = np.random.default_rng(0), max(1, ROOM // count)
    for begin in range(0, DRAWS, rows):
        yield random.multinomial(count, np.full(count, 1 / count), size=min(rows, DRAWS - begin)).astype(np.float64)
