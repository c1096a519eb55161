"""A curator that removes documents which overlap with text that a model will be tested on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from windtunnel.core.errors import PartError
from windtunnel.core.settings import Many
from windtunnel.core.trial import Trial
from windtunnel.data.corpus.fields import text_of
from windtunnel.data.corpus.judging import Judge, Reasons
from windtunnel.slots import CuratorContext, Source

if TYPE_CHECKING:
    import numpy as np
    import pyarrow


class Decontaminate(Judge, name="decontaminate"):
    """Remove documents that share runs of words with a set of tests, beyond a share of what they share runs with.

    Brown et al. 2020, arXiv:2005.14165, appendix C: a run of ``words`` words in common, in lower case and without signs. They take 13;
    a test of fewer words is found only where a document is nothing else. A document goes if at least ``share`` of the runs of some test
    are in it: any run at all by default, as there. Runs that stand in more than ``common`` tests are phrases of the format, and tell
    nothing.
    """

    fields = ("text",)
    trial = Trial({"tests": {"files": {"path": "@prose"}}, "sources": ["code"]})
    scans: ClassVar[bool] = True

    tests: Source = Field(description="the tests, each a document, as a source is written under corpus")
    words: int = Field(13, ge=1, description="words in a run")
    share: float = Field(0.0, ge=0, le=1, description="the share of a test's runs that has to be in a document (0: one run)")
    common: int = Field(10, ge=1, description="tests that may have a run which still tells something")
    sources: Many[str] = Field((), description="the sources that are judged (default: all)")

    def looks_at(self) -> tuple[str, ...]:
        """The sources that are judged."""
        return self.sources

    def scan(self, documents: pyarrow.RecordBatch) -> dict[str, np.ndarray]:
        """Nothing: only the tests are looked at."""
        return {}

    def decide(self, scans: Sequence[Mapping[str, np.ndarray]], context: CuratorContext) -> dict[str, np.ndarray]:
        """The runs of the tests, each with a test that has it, and how many every test has. Raises PartError where there is no test."""
        import numpy as np

        from windtunnel.data.corpus.frame import texts_of
        from windtunnel.data.corpus.tally import Tally
        from windtunnel.kits.text.words import shingles, words_of

        texts = [text for text in texts_of(self.tests, Tally("tests")) if text.strip()]
        if not texts:
            raise PartError("decontaminate: the tests hold no text; name another source under tests")
        found = shingles(texts, words_of(texts), self.words)
        owner = np.repeat(np.arange(len(texts)), np.diff(np.append(0, found.ends)))
        order = np.argsort(found.values, kind="stable")
        values, owner = found.values[order], owner[order]
        _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
        rare = counts[which] <= self.common
        return {"runs": values[rare], "tests": owner[rare], "sizes": np.bincount(owner[rare], minlength=len(texts))}

    def judge(self, documents: pyarrow.RecordBatch, found: Mapping[str, np.ndarray]) -> tuple[pyarrow.RecordBatch, Reasons]:
        """The documents as they are, and why those go that overlap."""
        import numpy as np

        from windtunnel.kits.text.words import shingles, words_of

        reasons: list[str | None] = [None] * documents.num_rows
        texts, places = text_of(documents), self.judged(documents)
        judged = [texts[place] or "" for place in places]
        own_runs = shingles(judged, words_of(judged), self.words)
        owner = np.repeat(np.arange(len(judged)), np.diff(np.append(0, own_runs.ends)))
        hit = np.isin(own_runs.values, found["runs"])
        for number in np.unique(owner[hit]).tolist():
            own = own_runs.values[(owner == number) & hit]
            low = np.searchsorted(found["runs"], own, side="left")
            high = np.searchsorted(found["runs"], own, side="right")
            tests = np.concatenate([found["tests"][a:b] for a, b in zip(low, high, strict=True)])
            named, counts = np.unique(tests, return_counts=True)
            shares = counts / found["sizes"][named]
            best = int(shares.argmax())
            if shares[best] >= self.share:
                reasons[places[number]] = f"overlaps with a test: {shares[best]:.0%} of test {int(named[best]) + 1}"
        return documents, reasons
