"""A curator that keeps clusters of documents whose samples would help a model on a target."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from windtunnel.core.errors import PartError
from windtunnel.core.part import Trained
from windtunnel.core.trial import Trial
from windtunnel.data.corpus.fields import text_of
from windtunnel.data.corpus.judging import Judge, Reasons
from windtunnel.slots import CuratorContext, Source

if TYPE_CHECKING:
    import numpy as np
    import pyarrow


class ClusterInfluence(Judge, name="cluster-influence"):
    """Keep documents of clusters whose samples have a good influence on a target, and try the clusters as a bandit tries its arms.

    Zhang et al. 2024 (Quad), arXiv:2409.16986. Documents are clustered. Again and again the cluster is taken whose influence so far is
    highest, plus a bonus for being tried seldom; ``sample`` of its documents are read by the model, and if their mean influence
    (:class:`windtunnel.kits.text.influence.Influence`) is above the threshold, they and the next ``block`` of the cluster are kept, unread.
    At first each cluster is tried once, and the threshold is the mean of that, weighted by size, where the paper sets a number by hand.
    When nothing is left to try, the best of what was read and refused fills up. The paper clusters embeddings of a trained encoder; here
    they are singular vectors of hashed words and pairs. Its Hessian is that of attention alone; ``curvature: false`` compares plain
    gradients, which is the first thing to test. The model's training and its passes are charged.
    """

    fields = ("text",)
    trial = Trial(
        {"model": {"folder": "@model"}, "target": {"files": {"path": "@prose"}}, "keep": 0.5, "clusters": 2, "sample": 2, "tokens": 8}
    )
    scans: ClassVar[bool] = True

    model: Trained = Field(description="the model whose gradients are compared: a causal one")
    target: Source = Field(description="text on which the loss is to fall, as a source is written under corpus")
    keep: float = Field(gt=0, le=1, description="share of the characters that stays")
    sources: tuple[str, ...] = Field((), description="the sources that are chosen from (default: all)")
    clusters: int = Field(16, ge=1, description="clusters of documents")
    sample: int = Field(8, ge=1, description="documents of a cluster that are read when it is tried")
    block: int = Field(32, ge=0, description="further documents that are kept where these are good")
    explore: float = Field(1.0, ge=0, description="the bonus of clusters that were tried seldom, in standard deviations of influence")
    curvature: bool = Field(True, description="whether gradients are compared by the inverse of an approximate Hessian")
    references: int = Field(64, ge=1, description="documents of the target that are read, and of the pool for the Hessian")
    tokens: int = Field(128, ge=2, description="tokens of a document that are read, from its beginning")
    batch: int = Field(16, ge=1, description="documents in one pass")
    buckets: int = Field(1 << 14, ge=16, description="hashed features")
    seed: int = Field(0, ge=0, description="of clusters and samples")

    def looks_at(self) -> tuple[str, ...]:
        """The sources that are chosen from."""
        return self.sources

    def scan(self, documents: pyarrow.RecordBatch) -> dict[str, np.ndarray]:
        """Features of the documents, and their beginnings."""
        import numpy as np

        from windtunnel.kits.text.selecting import pooled

        places, texts = self.judged(documents), text_of(documents)
        read = [(texts[place] or "")[: 16 * self.tokens].encode() for place in places]
        ends = np.cumsum([len(one) for one in read], dtype=np.int64)
        return {**pooled(documents, places, self.buckets, 2), "read": np.frombuffer(b"".join(read), np.uint8), "read_ends": ends}

    def decide(self, scans: Sequence[Mapping[str, np.ndarray]], context: CuratorContext) -> dict[str, np.ndarray]:
        """The documents that go, with the mean influence of their clusters.

        Raises:
            PartError: where the model is not causal or has no tokenizer, for an empty target, and where there is nothing to choose from.
        """
        import numpy as np

        from windtunnel.kits.text import selecting
        from windtunnel.kits.text.bandit import choose

        rows, characters = selecting.joined(scans)
        if not len(rows):
            raise PartError(f"{self.name}: no document with text to choose from")
        random = np.random.default_rng(self.seed)
        cluster = self._clusters(scans, random)
        texts = [text for scan in scans for text in _texts(scan)]
        influence = self._influence([texts[n] for n in random.permutation(len(texts))[: self.references]], context)
        chosen = choose(
            cluster,
            characters,
            lambda places: influence([texts[place] for place in places]),
            keep=self.keep,
            sample=self.sample,
            block=self.block,
            explore=self.explore,
            random=random,
        )
        context.tally.count("documents that the model read", chosen.read)
        good = chosen.means[cluster] > chosen.threshold
        return {**selecting.decision(rows, chosen.means[cluster], chosen.stays), "good": good[~chosen.stays]}

    def _clusters(self, scans: Sequence[Mapping[str, np.ndarray]], random: np.random.Generator) -> np.ndarray:
        """The cluster of each document: k-means of its embedding."""
        import numpy as np
        from scipy.cluster.vq import kmeans2

        from windtunnel.kits.text import selecting
        from windtunnel.kits.text.transport import embedded

        features = selecting.whole(scans)
        count = min(self.clusters, len(features.ends))
        points = embedded(features, self.buckets, 32, random) if count > 1 else None
        if points is None:
            return np.zeros(len(features.ends), np.int64)
        found: np.ndarray = kmeans2(points, count, minit="++", seed=int(random.integers(1 << 31)))[1].astype(np.int64)
        return found

    def _influence(self, pool: Sequence[str], context: CuratorContext) -> Callable[[Sequence[str]], list[float]]:
        """A function from texts to their influence; what was computed before is not computed again."""
        from windtunnel.kits.text.choice import digest
        from windtunnel.kits.text.influence import Influence
        from windtunnel.kits.text.judged import reading
        from windtunnel.kits.text.selecting import target

        separator, backend = reading(context, "model", self.name)
        most = 16 * self.tokens
        wanted = target(self.target, self.references * most, self.name, each=most)[: self.references]
        context.tally.count("documents of the target that the model read", len(wanted))

        def encoded(texts: Sequence[str]) -> list[list[int]]:
            found = backend.encode_batch([text[:most] for text in texts], add_special_tokens=False)
            return [[separator, *one.ids][: self.tokens + 1] for one in found]

        about = digest(chr(0).join([*wanted, *pool])).hex()
        ready: list[Influence] = []
        read = [encoded(wanted), *([encoded(pool)] if self.curvature else [])]

        def make() -> int:
            ready.append(Influence(context.models["model"], read[0], read[1] if self.curvature else None, batch=self.batch))
            return len(ready)

        def charged() -> int:
            with context.counted(sum(len(numbers) for each in read for numbers in each)):
                return make()

        context.once(f"{about}-direction", charged)

        def of(texts: Sequence[str]) -> list[float]:
            def computed() -> list[float]:
                if not ready:
                    make()  # begun again: it was charged with its own entry
                numbers = encoded(texts)
                with context.counted(sum(map(len, numbers))):
                    return ready[0].of(numbers)

            answer: list[float] = context.once(f"{about}-{digest(chr(0).join(texts)).hex()}", computed)
            return answer

        return of

    def judge(self, documents: pyarrow.RecordBatch, found: Mapping[str, np.ndarray]) -> tuple[pyarrow.RecordBatch, Reasons]:
        """As decided: what goes of a good cluster went because the room was used up."""
        from windtunnel.kits.text.selecting import gone

        low, good = ({name: found[name][found["good"] == one] for name in ("row", "score")} for one in (False, True))
        refused = gone(documents, low, "of a cluster of low influence")
        crowded = gone(documents, good, "no room left, of a cluster of influence")
        return documents, [one or other for one, other in zip(refused, crowded, strict=True)]


def _texts(scan: Mapping[str, np.ndarray]) -> Iterator[str]:
    import numpy as np

    for begin, end in itertools.pairwise(np.append(0, scan["read_ends"])):
        yield bytes(scan["read"][begin:end]).decode()
