"""A curator that keeps text on which better models have lower losses."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from windtunnel.core.errors import PartError
from windtunnel.core.part import Trained
from windtunnel.core.settings import Many
from windtunnel.core.trial import Trial
from windtunnel.data.corpus.fields import text_of
from windtunnel.data.corpus.judging import Judge, Reasons
from windtunnel.slots import CuratorContext

if TYPE_CHECKING:
    import numpy as np
    import pyarrow

SCALE = 1 << 32


class PredictiveStrength(Judge, name="predictive-strength"):
    """Keep text like that on which the order of some models' losses is the order of their quality.

    Shum et al. 2025 (PreSelect), arXiv:2503.00808. ``models`` are named from the worst to the best. The predictive strength of a document
    is the share of pairs of models of which the better one needs fewer bits a character for it. It is measured on a sample; those of
    strength 1 are positives, as many of the lowest are negatives, and a classifier of hashed words and pairs, as that of `classifier`,
    judges everything. The paper has six models of one family and keeps a tenth; models of several families did no better than chance
    there. Here the models are a ladder of one recipe, whose sizes or steps differ; their training and their passes are charged. Documents
    are judged by their first ``tokens`` tokens; those of fewer than ``shortest`` characters are not sampled.
    """

    fields = ("text",)
    trial = Trial({"models": [{"folder": "@other"}, {"folder": "@model"}], "keep": 0.5, "sample": 1.0, "shortest": 50, "buckets": 4096})
    scans: ClassVar[bool] = True

    models: tuple[Trained, ...] = Field(min_length=2, description="causal models, from the worst to the best")
    keep: float = Field(gt=0, le=1, description="share of the characters that stays")
    sources: Many[str] = Field((), description="the sources that are judged (default: all)")
    sample: float = Field(0.1, gt=0, le=1, description="share of the documents that the models read")
    shortest: int = Field(200, ge=1, description="fewest characters of a document that they read")
    tokens: int = Field(128, ge=2, description="tokens of a document that they read, from its beginning")
    batch: int = Field(32, ge=1, description="documents in one forward pass")
    buckets: int = Field(1 << 18, ge=16, description="hashed features")

    def looks_at(self) -> tuple[str, ...]:
        """The sources that are judged."""
        return self.sources

    def scan(self, documents: pyarrow.RecordBatch) -> dict[str, np.ndarray]:
        """Features of the documents, and the beginnings of those in the sample, which depends on their text alone."""
        import numpy as np
        import xxhash

        from windtunnel.kits.text.selecting import pooled

        places, texts = self.judged(documents), text_of(documents)
        found = pooled(documents, places, self.buckets, 2)
        beginnings, chosen = [], []
        for number, place in enumerate(places):
            text = texts[place] or ""
            if len(text) >= self.shortest and xxhash.xxh32_intdigest(text.encode()) < self.sample * SCALE:
                beginnings.append(text[: 64 * self.tokens].encode())
                chosen.append(number)
        ends = np.cumsum([len(one) for one in beginnings], dtype=np.int64)
        read = np.frombuffer(b"".join(beginnings), np.uint8)
        return {**found, "read": read, "read_ends": ends, "sampled": np.array(chosen, np.int64)}

    def decide(self, scans: Sequence[Mapping[str, np.ndarray]], context: CuratorContext) -> dict[str, np.ndarray]:
        """The documents that go, with their log odds.

        Raises:
            PartError: where a model has no tokenizer, and where the models' losses order no document, or every one, as their quality does.
        """
        import numpy as np

        from windtunnel.kits.text import selecting
        from windtunnel.kits.text.words import Ragged

        texts, chosen, before = [], [], 0
        for scan in scans:
            ends = np.append(0, scan["read_ends"])
            texts += [bytes(scan["read"][begin:end]).decode() for begin, end in itertools.pairwise(ends)]
            chosen += (scan["sampled"] + before).tolist()
            before += len(scan["row"])
        strength = self.strengths(texts, context)
        positive = np.flatnonzero(strength == 1)
        others = np.argsort(strength, kind="stable")
        negative = others[strength[others] < 1][: len(positive)]
        if not len(positive) or not len(negative):
            what = "no document" if not len(positive) else "every document"
            raise PartError(
                f"predictive-strength: of {len(texts):,} documents read, the models' losses order {what} as their quality does; read more "
                "(sample), or name models further apart"
            )
        context.tally.count("documents that models read", len(texts))
        context.tally.count("of them in the order of the models' quality", len(positive))
        good, bad = (selecting.sampled(scans, sorted(chosen[one] for one in which)) for which in (positive, negative))
        weights, bias = selecting.classifier(good, bad, self.buckets)
        scores = np.concatenate([selecting.scored(Ragged(scan["values"], scan["ends"]), weights, bias) for scan in scans])
        rows, characters = selecting.joined(scans)
        return selecting.decision(rows, scores, selecting.best(scores, characters, self.keep, self.name))

    def strengths(self, texts: Sequence[str], context: CuratorContext) -> np.ndarray:
        """The share of pairs of models of which the better one needs fewer bits for each text, float64."""
        import numpy as np

        from windtunnel.kits.text.judged import bits

        found = np.array(
            [
                bits(context, f"models.{number}", texts, tokens=self.tokens, batch=self.batch, part=self.name)
                for number in range(len(self.models))
            ]
        ).reshape(len(self.models), -1)
        pairs = [(worse, better) for worse in range(len(found)) for better in range(worse + 1, len(found))]
        return np.mean([found[worse] > found[better] for worse, better in pairs], axis=0)

    def judge(self, documents: pyarrow.RecordBatch, found: Mapping[str, np.ndarray]) -> tuple[pyarrow.RecordBatch, Reasons]:
        """As decided."""
        from windtunnel.kits.text.selecting import gone

        return documents, gone(documents, found, "of low predictive strength")
