"""Which pieces of documents a window over their concatenation holds."""

from __future__ import annotations

import numpy as np


def cut(ends: np.ndarray, begins: np.ndarray, stops: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The pieces of documents that windows ``begins[i]:stops[i]`` of their concatenation hold.

    ``ends`` (int64 [documents]) is where each document ends in the concatenation; none is empty, and no window is. Returns document,
    start and stop of each piece and ``first`` as in :class:`windtunnel.slots.Layout`.
    """
    head = np.searchsorted(ends, begins, side="right")
    counts = np.searchsorted(ends, stops - 1, side="right") - head + 1
    first = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    document = np.repeat(head - first[:-1], counts) + np.arange(first[-1])
    document_begins = np.where(document > 0, ends[document - 1], 0)
    start = np.maximum(np.repeat(begins, counts), document_begins) - document_begins
    stop = np.minimum(np.repeat(stops, counts), ends[document]) - document_begins
    return document, start, stop, first
