"""The packing that wastes nothing: all documents in one row, cut into windows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from windtunnel.slots import Documents, Layout, Packing

if TYPE_CHECKING:
    import numpy as np


class Concatenate(Packing, name="concatenate"):
    """Lay permuted documents one after the other, cut the row into windows, and shuffle these; documents may be cut anywhere.

    Windows overlap by one token, so that every token but an epoch's first is a label exactly once. What is left after the last whole
    window (less than a window) is dropped for this epoch; the next epoch has another order. Text shorter than one window is one
    padded window. Brown et al. 2020, arXiv:2005.14165, section 2.3; here attention and positions also stop at document boundaries.
    """

    def pack(self, documents: Documents, length: int, random: np.random.Generator) -> Layout:
        """Windows of ``length`` tokens over one permutation of the documents, in a random order."""
        import numpy as np

        from windtunnel.data.pieces import cut

        lengths = documents.lengths
        order = random.permutation(len(lengths))
        order = order[lengths[order] > 0]
        ends = np.cumsum(lengths[order])
        total, stride = int(ends[-1]) if len(ends) else 0, length - 1
        # Shuffled, or a small batch would be one document: neighbouring windows teach the same, and the loss jumps from file to file.
        begins = random.permutation(max(1, (total - 1) // stride) if total else 0).astype(np.int64) * stride
        document, start, stop, first = cut(ends, begins, np.minimum(begins + length, total))
        return Layout(order[document], start, stop, first, length)
