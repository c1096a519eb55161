"""A curator that keeps the documents that pull the pool towards a target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from windtunnel.core.errors import PartError
from windtunnel.core.settings import Many
from windtunnel.core.trial import Trial
from windtunnel.data.corpus.judging import Judge, Reasons
from windtunnel.slots import CuratorContext, Source

if TYPE_CHECKING:
    import numpy as np
    import pyarrow


class Transport(Judge, name="transport"):
    """Keep the documents of which more would bring the pool nearest to a target: those of the most negative gradient of the distance.

    Kang et al. 2024 (GOT-D), arXiv:2405.02774. It is for a model that was trained on text like the pool already: what has to be added is
    not what looks like the target but what the target has and the pool lacks. The distance is that of entropic optimal transport, and its
    gradient by the mass of a document is the dual potential (:func:`windtunnel.kits.text.transport.potentials`), one solution for all.
    Mass is a character, so long documents have no advantage. Copies of a document share its potential: remove them first.

    The paper embeds documents with a model tuned on the task and solves with ott-jax; here a document is the leading singular vectors of
    its hashed words and pairs, pool and target together, and the solver is a page of numpy that holds no matrix of all pairs. A target
    whose documents are in the pool is refused.
    """

    fields = ("text",)
    trial = Trial({"target": {"files": {"path": "@prose"}}, "keep": 0.5, "overlap": True})
    scans: ClassVar[bool] = True

    target: Source = Field(description="text that is to be learned, as a source is written under corpus")
    keep: float = Field(gt=0, le=1, description="share of the characters that stays")
    sources: Many[str] = Field((), description="the sources that are chosen from (default: all)")
    buckets: int = Field(1 << 14, ge=16, description="hashed features")
    rank: int = Field(32, ge=1, description="singular vectors that tell documents apart")
    references: int = Field(1024, ge=1, description="most documents of the target")
    blur: float = Field(0.05, gt=0, description="the entropic term as a share of the mean cost: higher is smoother")
    sample: int = Field(5_000_000, ge=1, description="characters of the target that are read")
    overlap: bool = Field(False, description="whether documents of the target may be in the pool")
    seed: int = Field(0, ge=0, description="of the sample of the target and of the singular vectors' first guess")

    def looks_at(self) -> tuple[str, ...]:
        """The sources that are chosen from."""
        return self.sources

    def scan(self, documents: pyarrow.RecordBatch) -> dict[str, np.ndarray]:
        """Features of the documents."""
        from windtunnel.kits.text.selecting import pooled

        return pooled(documents, self.judged(documents), self.buckets, 2)

    def decide(self, scans: Sequence[Mapping[str, np.ndarray]], context: CuratorContext) -> dict[str, np.ndarray]:
        """The documents that go, with their potentials.

        Raises:
            PartError: for an empty target, one that overlaps with the pool, where there is nothing to choose from, and where documents
                cannot be told apart.
        """
        import numpy as np

        from windtunnel.kits.text import selecting
        from windtunnel.kits.text.transport import embedded, potentials
        from windtunnel.kits.text.words import Ragged

        texts = selecting.target(self.target, self.sample, self.name)
        if not self.overlap:
            selecting.refuse_overlap(texts, scans, self.buckets, self.name, "target")
        rows, characters = selecting.joined(scans)
        if not len(rows):
            raise PartError(f"{self.name}: no document with text to choose from")
        random = np.random.default_rng(self.seed)
        chosen = sorted(random.permutation(len(texts))[: self.references].tolist())
        wanted = selecting.features([texts[number] for number in chosen], self.buckets, 2)
        pool = selecting.whole(scans)
        together = Ragged(np.append(pool.values, wanted.values), np.append(pool.ends, wanted.ends + len(pool.values)))
        points = embedded(together, self.buckets, self.rank, random)
        if points is None:
            raise PartError(f"{self.name}: the words of the documents do not tell them apart")
        scores = potentials(points[: len(rows)], np.maximum(1, characters), points[len(rows) :], blur=self.blur)
        return selecting.decision(rows, scores, selecting.best(-scores, characters, self.keep, self.name))

    def judge(self, documents: pyarrow.RecordBatch, found: Mapping[str, np.ndarray]) -> tuple[pyarrow.RecordBatch, Reasons]:
        """As decided."""
        from windtunnel.kits.text.selecting import gone

        return documents, gone(documents, found, "the target needs no more of it")
