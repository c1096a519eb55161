"""A curator that says of each document whether it holds what should not be written."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pydantic import Field, field_validator

from windtunnel.core.trial import Trial
from windtunnel.data.corpus.fields import TAKEN
from windtunnel.data.corpus.frame import engine
from windtunnel.kits.text.choice import text_of, wanted
from windtunnel.slots import Curator, CuratorContext
from windtunnel.slots.curator import REMOVED

if TYPE_CHECKING:
    import daft


class Score(Curator, name="score"):
    """Write into a field of each document whether a rule finds much in it that should not be written: ``good`` or ``bad``.

    The score is the share of a document's characters that matches of ``pattern`` cover. The objective `conditioned` shows the field, where
    the encoding names it (``tokenizer: {metadata: "{feedback}"}``), and a model is then asked to go on behind ``good``: conditional
    training of Korbak et al. 2023, arXiv:2302.08582. ``remove`` is the simple rival, which leaves such documents out. Held-out
    documents are never scored.
    """

    fields = ("text",)
    trial = Trial({"pattern": "[aeiou]{2}"})

    pattern: str = Field(min_length=1, description="a regular expression of what should not be written", examples=["(?i)damn"])
    most: float = Field(0.0, ge=0, le=1, description="the largest score of a document that is good")
    field: str = Field("feedback", min_length=1, description="the field that is written")
    good: str = Field("good", description="what is written there of a document up to `most`")
    bad: str = Field("bad", description="what is written of the others")
    remove: bool = Field(False, description="whether the others are left out")
    sources: tuple[str, ...] = Field((), description="the sources that are scored (default: all)")

    @field_validator("pattern")
    @classmethod
    def _is_a_pattern(cls, pattern: str) -> str:
        try:
            found = re.compile(pattern)
        except re.error as error:
            raise ValueError(f"{pattern!r} is no regular expression: {error}") from None
        if found.fullmatch(""):
            raise ValueError(f"{pattern!r} is found in an empty text, so it says nothing")
        return pattern

    @field_validator("field")
    @classmethod
    def _is_free(cls, field: str) -> str:
        if field in TAKEN:
            raise ValueError(f"{field!r} holds something else of every document; choose another name, such as feedback")
        return field

    def curate(self, documents: daft.DataFrame, context: CuratorContext) -> daft.DataFrame:
        """The documents with ``field``. Raises PartError where none has text."""
        daft = engine()
        from daft.functions import when

        text = text_of(self, documents)
        asked = wanted(self, documents, self.sources) & text.not_null()
        high = text.apply(self.score, return_dtype=daft.DataType.float64()) > daft.lit(self.most)
        label = when(asked & high, daft.lit(self.bad)).when(asked, daft.lit(self.good)).otherwise(daft.lit(None))
        documents = documents.with_column(self.field, label)
        if not self.remove:
            return documents
        return documents.with_column(REMOVED, when(asked & high, daft.lit("score: pattern")).otherwise(daft.lit(None)))

    def score(self, text: str | None) -> float:
        """The share of characters of ``text`` that matches cover."""
        return sum(len(match[0]) for match in re.finditer(self.pattern, text)) / len(text) if text else 0.0
