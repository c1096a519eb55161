"""A curator that takes out lines which belong to a page and not to its text, by a program for each document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from windtunnel.core.errors import PartError
from windtunnel.core.settings import Many
from windtunnel.core.trial import Trial
from windtunnel.data.corpus.fields import TEXT, text_of
from windtunnel.data.corpus.judging import Judge, Reasons, replaced
from windtunnel.slots import CuratorContext, Source

if TYPE_CHECKING:
    import numpy as np
    import pyarrow

MOST = 20_000  # lines of either kind that are learned from


class PageFurniture(Judge, name="page-furniture"):
    """Remove lines that are like examples of furniture (menus, footers, banners) and unlike examples of good text.

    Zhou et al. 2024 (ProX), arXiv:2409.17115: a small model writes a program for each document, which removes lines and strings, and an
    executor runs it (:mod:`windtunnel.kits.text.programs`), with the paper's rules for what is left. In the place of a language model naive
    Bayes tells lines apart, by the words that at least three example lines have; what it has seen of neither kind decides nothing. A line
    goes where the logarithm of its odds is above ``certain``, and ``strings`` go wherever they stand. A document of which hardly a word is
    left goes whole.
    """

    fields = ("text",)
    trial = Trial({"furniture": {"files": {"path": "@prose"}}, "good": {"files": {"path": "@code"}}, "sources": ["code"], "certain": 0.5})
    scans: ClassVar[bool] = True

    furniture: Source = Field(description="examples of lines that are to go, as a source is written under corpus")
    good: Source = Field(description="examples of lines that are to stay")
    certain: float = Field(2.0, description="the logarithm of the odds above which a line goes")
    strings: Many[str] = Field((), description="strings that are removed wherever they stand")
    sources: Many[str] = Field((), description="the sources that are cleaned (default: all)")

    def looks_at(self) -> tuple[str, ...]:
        """The sources that are cleaned."""
        return self.sources

    def scan(self, documents: pyarrow.RecordBatch) -> dict[str, np.ndarray]:
        """Nothing: only the examples are looked at."""
        return {}

    def decide(self, scans: Sequence[Mapping[str, np.ndarray]], context: CuratorContext) -> dict[str, np.ndarray]:
        """What each word says of a line, by its hash, and what is known without any. Raises PartError where there are no examples."""
        import numpy as np

        from windtunnel.kits.text.bayes import Bayes

        kinds = [self._lines(source, name) for source, name in ((self.good, "good"), (self.furniture, "furniture"))]
        tagger = Bayes(*kinds)
        if not tagger.evidence:
            raise PartError("page-furniture: no word stands in three of the example lines; give more of them")
        return {
            "words": np.array([hashed(word) for word in tagger.evidence], np.uint64),
            "weights": np.array(list(tagger.evidence.values())),
            "prior": np.array([tagger.prior]),
        }

    def _lines(self, source: Source, name: str) -> list[str]:
        from windtunnel.data.corpus.frame import texts_of
        from windtunnel.data.corpus.tally import Tally

        found: list[str] = []
        for text in texts_of(source, Tally(name)):
            found += [line for line in text.splitlines() if line.strip()]
            if len(found) >= MOST:
                break
        if not found:
            raise PartError(f"page-furniture: {name} holds no line; name another source")
        return found[:MOST]

    def judge(self, documents: pyarrow.RecordBatch, found: Mapping[str, np.ndarray]) -> tuple[pyarrow.RecordBatch, Reasons]:
        """The documents without furniture; those of which hardly a word is left go."""
        from windtunnel.kits.text.programs import refined

        evidence = dict(zip(found["words"].tolist(), found["weights"].tolist(), strict=True))
        texts = list(text_of(documents))
        reasons: list[str | None] = [None] * len(texts)
        for row in self.judged(documents):
            text = texts[row] or ""
            if program := self.program(text, evidence, float(found["prior"][0])):
                after = refined(text, program)
                texts[row] = after.text
                reasons[row] = None if after.text is not None else f"page furniture: {after.why}"
        return replaced(documents, {TEXT: texts}), reasons

    def program(self, text: str, evidence: Mapping[int, float], prior: float) -> str:
        """The calls that clean ``text``, a line each; nothing where it is clean."""
        from windtunnel.kits.text.bayes import marks
        from windtunnel.kits.text.programs import removals

        calls = [f"normalize(source_str={one!r})" for one in self.strings if one and one in text]
        for one in self.strings:
            text = text.replace(one, "") if one else text
        bad = []
        for line in text.split("\n"):
            known = [evidence[key] for key in map(hashed, marks(line)) if key in evidence]
            bad.append(bool(known) and prior + sum(known) > self.certain)
        return "\n".join(calls + removals(bad))


def hashed(word: str) -> int:
    """A number for a word, below 2^64."""
    import xxhash

    return int(xxhash.xxh3_64_intdigest(word.encode("utf-8", "surrogatepass")))
