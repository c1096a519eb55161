"""The packing of units that stand for themselves and whose neighbours teach the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

from windtunnel.core.trial import Trial
from windtunnel.kits.trials import PATCHTST, SERIES
from windtunnel.slots import Documents, Layout, Packing

if TYPE_CHECKING:
    import numpy as np


class Scattered(Packing, name="scattered"):
    """Deal the units of all documents to sequences at random, each unit a piece of its own.

    For units that need no neighbour, such as windows of a series or rows of a table: those of one document teach much the same, and a step
    should see many documents. Every unit comes once an epoch; the last sequence may be shorter.
    """

    trial = Trial(model=PATCHTST, beside=SERIES)

    def pack(self, documents: Documents, length: int, random: np.random.Generator) -> Layout:
        """Sequences of ``length`` units from anywhere."""
        import numpy as np

        total = int(documents.lengths.sum())
        order = random.permutation(total).astype(np.int64)
        ends = np.cumsum(documents.lengths)
        document = np.searchsorted(ends, order, side="right").astype(np.int64)
        start = order - (ends - documents.lengths)[document]
        first = np.append(np.arange(0, total, length), total).astype(np.int64)
        return Layout(document, start, start + 1, first, length)
