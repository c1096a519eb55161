"""The contract of packings, and the layout they return."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import Field

from windtunnel.core.part import Part

if TYPE_CHECKING:
    import numpy as np


@dataclass
class Layout:
    """Sequences as pieces of documents. Sequence ``i`` is the pieces ``first[i]:first[i + 1]``, laid one after the other.

    Piece ``j`` is the tokens ``start[j]:stop[j]`` of document ``document[j]``. All are int64 arrays; ``len(first)`` is one more than
    the number of sequences. Every sequence holds at most ``length`` tokens; shorter ones are padded by the loader.
    """

    document: np.ndarray
    start: np.ndarray
    stop: np.ndarray
    first: np.ndarray
    length: int


class Packing(Part):
    """How documents become sequences. Every packing has the knob ``separate``, which the loader acts on."""

    separate: bool = Field(True, description="whether attention and positions stop at document boundaries within a sequence")

    def pack(self, lengths: np.ndarray, length: int, random: np.random.Generator) -> Layout:
        """One epoch of sequences of ``length`` tokens from documents of ``lengths`` tokens, in an order drawn from ``random``."""
        raise NotImplementedError
