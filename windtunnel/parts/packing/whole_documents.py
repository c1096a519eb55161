"""The packing that cuts as few documents as it can."""

from __future__ import annotations

import bisect
from typing import TYPE_CHECKING

from windtunnel.slots import Documents, Layout, Packing

if TYPE_CHECKING:
    import numpy as np


class WholeDocuments(Packing, name="whole-documents"):
    """Put whole documents into sequences by best fit, largest first; only a document longer than a sequence is cut.

    Ding et al. 2024, "Fewer Truncations Improve Language Modeling", arXiv:2404.10830. What does not fill up is padding, which costs
    compute and teaches nothing. Parts of a long document overlap by one token, so that each of its tokens is a label once. A part
    from inside a document always comes first in its sequence: after another document it would be read as what follows that one's
    end. The last document of a sequence is followed by padding rather than by a separator, so its end is not a label.
    """

    def pack(self, documents: Documents, length: int, random: np.random.Generator) -> Layout:
        """Best-fit decreasing over a permutation of the documents (which decides ties); the sequences come in a random order."""
        import numpy as np

        document, start, stop = parts(random.permutation(len(documents)), documents.lengths, length)
        inside = start > 0
        placing = np.lexsort((start - stop, ~inside))  # parts from inside a document, then the rest, largest first
        bins = best_fit((stop - start)[placing].tolist(), length, apart=int(inside.sum()))
        order = random.permutation(len(bins))
        first = np.concatenate([[0], np.cumsum([len(bins[place]) for place in order])]).astype(np.int64)
        chosen = placing[np.array([piece for place in order for piece in bins[place]], dtype=np.int64)]
        return Layout(document[chosen], start[chosen], stop[chosen], first, length)


def parts(order: np.ndarray, lengths: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Each document of ``order`` as parts of at most ``length`` tokens that overlap by one: document, start and stop of each."""
    import numpy as np

    order = order[lengths[order] > 0]
    stride = length - 1
    counts = np.maximum(1, -(-(lengths[order] - 1) // stride))
    document = np.repeat(order, counts)
    before = np.cumsum(counts) - counts
    start = (np.arange(len(document)) - np.repeat(before, counts)) * stride
    return document, start, np.minimum(start + length, lengths[document])


def best_fit(sizes: list[int], capacity: int, apart: int = 0) -> list[list[int]]:
    """Which of ``sizes`` (in this order) go into each bin, every one into the open bin that it leaves the least room in.

    The first ``apart`` of them begin a bin each.
    """
    bins: list[list[int]] = []
    open_bins: dict[int, list[int]] = {}  # room left -> bins
    rooms: list[int] = []  # its keys, sorted
    for number, size in enumerate(sizes):
        place = bisect.bisect_left(rooms, size) if number >= apart else len(rooms)
        if place == len(rooms):
            room, bin_number = capacity, len(bins)
            bins.append([])
        else:
            room = rooms[place]
            bin_number = open_bins[room].pop()
            if not open_bins[room]:
                del open_bins[room], rooms[place]
        bins[bin_number].append(number)
        left = room - size
        if left:
            if left not in open_bins:
                open_bins[left] = []
                bisect.insort(rooms, left)
            open_bins[left].append(bin_number)
    return bins
