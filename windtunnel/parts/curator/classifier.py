"""A curator that keeps what a classifier takes for text like a reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from windtunnel.core.settings import Many
from windtunnel.core.trial import Trial
from windtunnel.data.corpus.judging import Judge, Reasons
from windtunnel.slots import CuratorContext, Source

if TYPE_CHECKING:
    import numpy as np
    import pyarrow


class Classifier(Judge, name="classifier"):
    """Keep the documents that a classifier of hashed words takes for text like a reference rather than like the pool.

    Li et al. 2024 (DCLM), arXiv:2406.11794: instructions and answers against web pages. Tan and Wang 2024, arXiv:2408.03506: expository
    text. They use fastText with words and pairs; here it is a logistic regression on the same features
    (:func:`windtunnel.kits.text.selecting.classifier`), which needs no compiler and no learning rate. What is not in the reference is
    a random sample of the pool, so good text in it counts as bad: the order is right, the odds are not. A reference of which documents
    are in the pool is refused: they would be kept for being known.
    """

    fields = ("text",)
    trial = Trial({"reference": {"files": {"path": "@prose"}}, "keep": 0.5, "overlap": True, "buckets": 4096})
    scans: ClassVar[bool] = True

    reference: Source = Field(description="text of the kind that is wanted, as a source is written under corpus")
    keep: float = Field(gt=0, le=1, description="share of the characters that stays")
    sources: Many[str] = Field((), description="the sources that are judged (default: all)")
    buckets: int = Field(1 << 18, ge=16, description="hashed features")
    documents: int = Field(10_000, ge=2, description="most documents of each kind that the classifier learns from")
    sample: int = Field(20_000_000, ge=1, description="characters of the reference that are read")
    overlap: bool = Field(False, description="whether documents of the reference may be in the pool")
    seed: int = Field(0, ge=0, description="of the sample of the pool")

    def looks_at(self) -> tuple[str, ...]:
        """The sources that are judged."""
        return self.sources

    def scan(self, documents: pyarrow.RecordBatch) -> dict[str, np.ndarray]:
        """Features of the documents."""
        from windtunnel.kits.text.selecting import pooled

        return pooled(documents, self.judged(documents), self.buckets, 2)

    def decide(self, scans: Sequence[Mapping[str, np.ndarray]], context: CuratorContext) -> dict[str, np.ndarray]:
        """The documents that go, with their log odds.

        Raises:
            PartError: for an empty reference, one that overlaps with the pool, and where there is nothing to judge.
        """
        import numpy as np

        from windtunnel.kits.text import selecting
        from windtunnel.kits.text.words import Ragged

        texts = selecting.target(self.reference, self.sample, self.name)
        if not self.overlap:
            selecting.refuse_overlap(texts, scans, self.buckets, self.name, "reference")
        random = np.random.default_rng(self.seed)
        good = selecting.features([texts[n] for n in sorted(random.permutation(len(texts))[: self.documents])], self.buckets, 2)
        rows, characters = selecting.joined(scans)
        bad = selecting.sampled(scans, sorted(random.permutation(len(rows))[: self.documents].tolist()))
        weights, bias = selecting.classifier(good, bad, self.buckets)
        scores = np.concatenate([selecting.scored(Ragged(scan["values"], scan["ends"]), weights, bias) for scan in scans])
        return selecting.decision(rows, scores, selecting.best(scores, characters, self.keep, self.name))

    def judge(self, documents: pyarrow.RecordBatch, found: Mapping[str, np.ndarray]) -> tuple[pyarrow.RecordBatch, Reasons]:
        """As decided."""
        from windtunnel.kits.text.selecting import gone

        return documents, gone(documents, found, "unlike the reference")
