"""What sources share that make documents by a rule: so many, each from a random generator of its own."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import ClassVar

from pydantic import Field

from windtunnel.data.corpus.frame import Document, StreamedSource
from windtunnel.data.corpus.tally import Tally


class Synthetic(StreamedSource):
    """A source whose documents are made: the n-th depends on ``seed`` and n alone, so more documents begin with the fewer.

    Documents that come out the same are removed as exact duplicates, so what is tested on is never trained on.
    """

    rules: ClassVar[int] = 1  # raised when the same knobs give other documents

    count: int = Field(10_000, ge=1, description="documents")
    seed: int = Field(0, ge=0, description="of all that is random")

    def one(self, chance: random.Random) -> str:
        """A document."""
        raise NotImplementedError

    def documents(self, tally: Tally) -> Iterator[Document]:
        """Texts, each with its number."""
        for number in range(self.count):
            yield self.one(random.Random(f"{self.name} {self.seed} {number}")), f"{self.name} {number}"

    def signature(self) -> str:
        """The version of the rules."""
        return f"rules {self.rules}"
