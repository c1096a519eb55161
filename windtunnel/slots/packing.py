"""The contract of packings, the documents they are handed and the layout they return."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import Field

from windtunnel.core.part import Part, required

if TYPE_CHECKING:
    import numpy as np


@dataclass
class Layout:
    """Sequences as pieces of documents. Sequence ``i`` is the pieces ``first[i]:first[i + 1]``, laid one after the other.

    Piece ``j`` is the units ``start[j]:stop[j]`` of document ``document[j]``. All are int64 arrays; ``len(first)`` is one more than
    the number of sequences. Every sequence holds at most ``length`` units; shorter ones are padded by the loader.
    """

    document: np.ndarray
    start: np.ndarray
    stop: np.ndarray
    first: np.ndarray
    length: int


@dataclass
class Documents:
    """The documents of a source that a packing lays out: ``lengths`` in units, int64 [documents], and what is in them.

    ``read(field, document)`` is the array of a field of one document, [entries, *shape]; it comes from the disk.
    """

    lengths: np.ndarray
    read: Callable[[str, int], np.ndarray] | None = None

    def __len__(self) -> int:
        return len(self.lengths)

    def fields(self, name: str) -> Iterator[np.ndarray]:
        """The field ``name`` of every document, in order. Raises UserError where they have none of that name."""
        assert self.read is not None, "these documents are lengths alone"
        for document in range(len(self.lengths)):
            yield self.read(name, document)


class Packing(Part):
    """How documents become sequences. Every packing has the knob ``separate``, which the loader acts on."""

    acts = ("pack",)

    separate: bool = Field(True, description="whether attention and positions stop at document boundaries within a sequence")

    @required
    def pack(self, documents: Documents, length: int, random: np.random.Generator) -> Layout:
        """One epoch of sequences of at most ``length`` units from ``documents``, in an order drawn from ``random``."""
        raise NotImplementedError
