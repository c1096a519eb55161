"""Clean text and noise of known kinds, to see what a selector of text lets through."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from windtunnel.core.errors import UserError
from windtunnel.data.corpus.frame import Document, StreamedSource
from windtunnel.data.corpus.tally import Tally
from windtunnel.kits.text.planted import planted


class PlantedNoise(StreamedSource, name="planted-noise"):
    """Documents of one kind of a pool in which it is known what is clean.

    Several such sources make the pool, and the report's funnel counts by source, so by kind. ``clean`` is documentation of the running
    Python, in pieces of about a thousand characters; ``shuffled`` other documentation whose words are in random order, so that it has the
    same unigrams; ``other`` fluent text of another domain: source code without docstrings; ``copies`` near-copies of five clean documents
    in which 3 percent of the words are replaced; ``reference`` clean documents that are in no other kind, for selectors that ask what
    text is wanted. Of one ``seed`` and ``characters`` no document stands in two kinds. Selection is what Albalak et al. 2024,
    arXiv:2402.16827, call a utility of documents and a way to choose by it; with planted defects both can be told apart from chance.
    """

    kind: Literal["clean", "shuffled", "other", "copies", "reference"] = Field(
        description="clean text, a kind of noise, or clean text for selectors"
    )
    characters: int = Field(200_000, ge=1, description="of each kind but the reference, about")
    seed: int = Field(0, ge=0, description="of which documents become what")

    def documents(self, tally: Tally) -> Iterator[Document]:
        """Texts, each with its number.

        Raises:
            UserError: this Python has less documentation.
        """
        try:
            kinds, reference = planted(self.characters, self.seed)
        except ValueError as error:
            raise UserError(f"planted-noise.{error}") from error
        for number, text in enumerate(reference if self.kind == "reference" else kinds[self.kind]):
            yield text, f"{self.kind} {number}"

    def signature(self) -> str:
        """That of the running Python's text."""
        from windtunnel.parts.source.builtin import Builtin

        return f"rules 1 {Builtin(text='stdlib').signature()}"
