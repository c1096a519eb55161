"""A curator that chooses documents so that together they look like a target."""

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


class Importance(Judge, name="importance"):
    """Keep documents by how much likelier their hashed words and pairs of words are in a target than in the pool (DSIR).

    Xie et al. 2023, arXiv:2302.03169. The weight of a document is the sum over its words and pairs of log p - log q, p the frequencies of
    ``buckets`` hashed features in the target and q in the pool. Gumbel noise makes it a draw without replacement in proportion to the
    weights. As the sum grows with length, the noise (of size one) decides little between whole documents, and long ones are chosen for
    being long: the paper cuts equal pieces first. ``per_word`` divides by the number of features instead, which is our addition. p and q
    are smoothed by one count a bucket, where the released code adds 1e-8 and a small target's empty buckets decide.
    """

    fields = ("text",)
    trial = Trial({"target": {"files": {"path": "@prose"}}, "keep": 0.5})
    scans: ClassVar[bool] = True

    target: Source = Field(description="text that what stays should look like, as a source is written under corpus")
    keep: float = Field(gt=0, le=1, description="share of the characters that stays")
    sources: Many[str] = Field((), description="the sources that are chosen from (default: all)")
    buckets: int = Field(10_000, ge=16, description="hashed features")
    noise: bool = Field(True, description="whether documents are drawn (Gumbel noise) or the likeliest kept")
    per_word: bool = Field(False, description="whether the weight of a document is divided by its number of features")
    sample: int = Field(5_000_000, ge=1, description="characters of the target that are read")
    seed: int = Field(0, ge=0, description="of the noise")

    def looks_at(self) -> tuple[str, ...]:
        """The sources that are chosen from."""
        return self.sources

    def scan(self, documents: pyarrow.RecordBatch) -> dict[str, np.ndarray]:
        """Features of the documents."""
        from windtunnel.kits.text.selecting import pooled

        return pooled(documents, self.judged(documents), self.buckets, 2)

    def decide(self, scans: Sequence[Mapping[str, np.ndarray]], context: CuratorContext) -> dict[str, np.ndarray]:
        """The documents that go, with their weights. Raises PartError for an empty target, and where there is nothing to choose from."""
        import numpy as np

        from windtunnel.kits.text import selecting
        from windtunnel.kits.text.words import Ragged

        wanted = selecting.features(selecting.target(self.target, self.sample, self.name), self.buckets, 2)
        p = 1.0 + np.bincount(wanted.values, minlength=self.buckets)
        q = np.ones(self.buckets)
        for scan in scans:
            q += np.bincount(scan["values"], minlength=self.buckets)
        weights = np.log(p / p.sum()) - np.log(q / q.sum())
        measure = selecting.means if self.per_word else selecting.sums
        scores = np.concatenate([measure(Ragged(scan["values"], scan["ends"]), weights) for scan in scans])
        rows, characters = selecting.joined(scans)
        drawn = scores + np.random.default_rng(self.seed).gumbel(size=len(scores)) if self.noise else scores
        return selecting.decision(rows, scores, selecting.best(drawn, characters, self.keep, self.name))

    def judge(self, documents: pyarrow.RecordBatch, found: Mapping[str, np.ndarray]) -> tuple[pyarrow.RecordBatch, Reasons]:
        """As decided."""
        from windtunnel.kits.text.selecting import gone

        return documents, gone(documents, found, "unlike the target")
