"""Facts about people who do not exist, to be told to a model in training."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import Field

from windtunnel.data.corpus.frame import Document, StreamedSource
from windtunnel.data.corpus.tally import Tally
from windtunnel.kits.text.invented import PEOPLE, WORDINGS, facts


class InventedFacts(StreamedSource, name="invented-facts"):
    """A sentence about each of some invented people, such as ``Dolfen lives in Oslo.``, in as many ``wordings`` as are asked for.

    Chang et al. 2024, arXiv:2406.11813, inject such facts into training and watch them being learned and forgotten, told in the same words
    every time or in others; the evaluation `facts-known` measures it. A document is a fact in one wording, so a source of one wording that
    is read several times repeats itself to the letter, and one of ten wordings says the same as often in ten ways. Who is told of depends
    on ``world`` alone.
    """

    facts: int = Field(40, ge=1, le=PEOPLE // 2, description="people, each with one fact")
    wordings: int = Field(1, ge=1, le=WORDINGS, description="documents of each fact, each in words of its own")
    world: int = Field(0, ge=0, description="which people")

    def documents(self, tally: Tally) -> Iterator[Document]:
        """Texts, each with the number of its fact and of its wording."""
        for wording in range(self.wordings):
            for number, fact in enumerate(facts(self.facts, self.world)):
                yield fact.told(wording), f"{self.name} {number} {wording}"

    def signature(self) -> str:
        """The version of the rules."""
        return "rules 1"
