"""A curator that damages documents on purpose."""

from __future__ import annotations

import random
import re
from typing import TYPE_CHECKING

from pydantic import Field

from windtunnel.core.settings import Many
from windtunnel.data.corpus.frame import engine
from windtunnel.kits.text.choice import digest, text_of, wanted
from windtunnel.slots import Curator, CuratorContext

if TYPE_CHECKING:
    import daft


class Scramble(Curator, name="scramble"):
    """Shuffle the words within a random share of the training documents, so that it is known which ones a filter should find.

    For measuring curators, not for training: a corpus with text of low quality in a known amount, the same for every arm that names
    it first. Words keep their white space; which documents are hit depends on their text and ``seed`` alone.
    """

    fields = ("text",)

    share: float = Field(0.5, gt=0, le=1, description="share of the documents that is damaged")
    sources: Many[str] = Field((), description="the sources that are damaged (default: all)")
    seed: int = Field(0, ge=0, description="which documents, and into which order")

    def curate(self, documents: daft.DataFrame, context: CuratorContext) -> daft.DataFrame:
        """All documents in their order, some of them damaged. Raises PartError where none has text."""
        daft = engine()
        from daft.functions import when

        text = text_of(self, documents)
        hit = wanted(self, documents, self.sources)
        damaged = text.apply(self._damaged, return_dtype=daft.DataType.string())
        return documents.with_column("text", when(hit, damaged).otherwise(text))

    def _damaged(self, text: str | None) -> str | None:
        if text is None:
            return None
        key = int.from_bytes(digest(text, self.seed + 1), "little")
        if key % 1_000_000 >= self.share * 1_000_000:
            return text
        words = re.findall(r"\S+", text)
        random.Random(key).shuffle(words)
        found = iter(words)
        return re.sub(r"\S+", lambda _: next(found), text)
