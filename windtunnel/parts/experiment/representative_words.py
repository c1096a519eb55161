"""A ranker of documents that is taught without queries, by which of two sets of words is likelier in a document."""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

from pydantic import Field

from windtunnel.core.errors import PartError
from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np

WORDS = 3  # of a set on average
COMMON = 1e-3  # frequency above which words are left out at times
SATURATION, SATURATED = 1.2, 0.01
RATE, ROUNDS = 0.05, 3
FEWEST = 30  # words of a body


class RepresentativeWords(Experiment, name="representative-words"):
    """The mean reciprocal rank at which a document is found by its own first line, by a linear ranker that never saw a query.

    Ma et al. 2021, arXiv:2010.10137 (PROP): for a document two sets of words of one length are drawn from its language model,
    p(w) = (count + mu background) / (length + mu), with mu the mean length, and a ranker learns to prefer the likelier set, by a hinge
    loss. Common words are left out at times, as there. ``shuffled`` prefers either by chance, a control. ``sentences`` is the rival,
    inverse cloze: prefer a document's own line, taken out of it, to another document. BERT is not here: the ranker weighs five
    features of a set and a document, means over words of whether a word occurs, the logarithm and the saturation of how often, and the
    first and the third times the word's rarity. So it is asked what preferences teach, and not what a network makes of them.

    ``distribution`` is what sets are drawn from. Ma et al. 2021, arXiv:2104.09791 (B-PROP), have for the ``unigram`` model above a term
    distribution of BERT's: the last layer's ``attention`` from the first place to words, averaged over heads, summed over a word's
    places and saturated, a / (a + 0.01); and in ``contrast`` its divergence from randomness, -p(w|document) log p(w), with the mean over
    documents for p(w), scaled to a sum of 1. The encoder is small, of two layers, and learns masked words and whether two stretches follow
    each other in ``learned`` steps, on the bodies; there BERT is trained on, and the ranker is BERT.

    Documents are Python's docstrings, of which the first line is the query and the rest is searched. ``bm25`` is told beside, and
    ``overlap``, the chance that a drawn word stands in the first line.
    """

    trial = Trial({"pairs": 50, "queries": 20, "most": 60})

    unit: ClassVar[str] = "reciprocal rank"
    better: ClassVar[str] = "higher"

    taught: Literal["likelier", "shuffled", "sentences"] = Field("likelier", description="what the ranker prefers in training")
    distribution: Literal["unigram", "attention", "contrast"] = Field("unigram", description="what sets of words are drawn from")
    learned: int = Field(300, ge=1, description="steps of the encoder, 32 stretches each")
    pairs: int = Field(3000, ge=1, description="that it learns from")
    queries: int = Field(300, ge=1, description="that it is judged on")
    most: int = Field(5000, ge=10, description="documents that are searched, at most")

    def measure(self, seed: int) -> dict[str, float]:
        """``reciprocal``, ``bm25`` and ``overlap``.

        Raises:
            PartError: where this Python has no docstrings.
        """
        import numpy as np

        from windtunnel.kits.text.search import bm25_ranks

        random = np.random.default_rng(seed)
        library = docstrings(self.most, self.name)
        counts = counted(library)
        asked = random.permutation(len(library.queries))[: self.queries]
        chance = self._chances(library, counts, seed)
        weights = self._weights(library, counts, chance, random)
        ranks = []
        for place in asked:
            words = [library.number[word] for word in library.queries[place] if word in library.number]
            scores = features(words, slice(None), counts) @ weights if words else np.zeros(len(library.bodies))
            ranks.append(1 + int((~(scores < scores[place])).sum() - 1))
        others = np.setdiff1d(np.arange(len(library.queries)), asked)
        order = np.concatenate([asked, others])
        bm25 = bm25_ranks([library.queries[place] for place in order], [library.bodies[place] for place in order])[: len(asked)]
        drawn = chance * counts.kept if self.distribution == "unigram" else chance
        own = [[library.number[word] for word in set(query) if word in library.number] for query in library.queries]
        overlap = np.mean([row[words].sum() / row.sum() for row, words in zip(drawn, own, strict=True)])
        reciprocal = {"reciprocal": float(np.mean(1 / np.array(ranks))), "bm25": float(np.mean(1 / (1 + bm25)))}
        return {**reciprocal, "overlap": float(overlap)}

    def _chances(self, library: Library, counts: Counts, seed: int) -> np.ndarray:
        """Of each word in each document, [documents, words], up to a factor for each document."""
        import numpy as np

        if self.distribution == "unigram":
            return counts.often + counts.mean * counts.background  # over length + mu, which all share
        attended = term_attention(self.most, self.learned, seed, self.name)
        found = attended / (attended + SATURATED)
        found /= found.sum(axis=1, keepdims=True)
        return found if self.distribution == "attention" else -found * np.log(np.maximum(found.mean(axis=0), 1e-12))

    def _weights(self, library: Library, counts: Counts, chances: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """Of the features, by a hinge loss of 1 over pairs: [features]."""
        import numpy as np

        differences = list[np.ndarray]()
        while len(differences) < self.pairs:
            place = int(random.integers(len(library.bodies)))
            if self.taught == "sentences":
                lines = library.lines[place]
                own = lines[int(random.integers(len(lines)))]
                taken = np.array([own.count(word) for word in own], float)
                other = int(random.integers(len(library.bodies)))
                if other != place:
                    differences.append(features(own, place, counts, taken) - features(own, other, counts))
                continue
            model = chances[place]
            chance = (model * counts.kept if self.distribution == "unigram" else model).cumsum()
            size = max(1, int(random.poisson(WORDS)))
            one, two = np.searchsorted(chance, random.random((2, size)) * chance[-1]).clip(max=len(chance) - 1)
            likelier = np.log(model[one]).sum() - np.log(model[two]).sum()
            sign = np.sign(likelier) if self.taught == "likelier" else random.choice([-1, 1])
            differences.append(sign * (features(one, place, counts) - features(two, place, counts)))
        found = np.array(differences)
        scale = np.maximum(found.std(axis=0), 1e-9)
        weights = np.zeros(found.shape[1])
        for _ in range(ROUNDS):
            for row in (found / scale)[random.permutation(len(found))]:
                if row @ weights < 1:
                    weights += RATE * row
        return weights / scale


class Library(NamedTuple):
    """Documents: their first lines and what follows, in words, the lines of what follows as numbers of words, and these numbers."""

    number: dict[str, int]
    queries: list[list[str]]
    bodies: list[list[str]]
    lines: list[list[list[int]]]


class Counts(NamedTuple):
    """How often words stand in bodies, ``often`` [documents, words], and of each word: its ``rarity``, its share of the language model of
    all (``background``, which counts documents), and how often it stays (``kept``). ``mean``: words of a body.
    """

    often: np.ndarray
    rarity: np.ndarray
    background: np.ndarray
    kept: np.ndarray
    mean: float


@functools.lru_cache(8)
def term_attention(most: int, steps: int, seed: int, part: str) -> np.ndarray:
    """What an encoder attends to in each document, summed over the places of a word, [documents, words]."""
    from windtunnel.kits.text.attended import attended

    library = docstrings(most, part)
    return attended([[library.number[word] for word in body] for body in library.bodies], len(library.number), steps, seed)


def docstrings(most: int, part: str) -> Library:
    """Those of this Python with a first line and a body long enough. Raises PartError, for ``part``, where there are none."""
    from windtunnel.data.corpus.tally import Tally
    from windtunnel.parts.source.builtin import Builtin

    queries, bodies, lines = list[list[str]](), list[list[str]](), list[list[list[int]]]()
    number: dict[str, int] = {}
    for text, _ in Builtin(text="docstrings").documents(Tally(part)):
        first, _, rest = text.strip().partition("\n")
        query, body = (re.findall("[a-z]{2,}", each.lower()) for each in (first, rest))
        if len(bodies) == most:
            break
        if len(query) < 2 or len(body) < FEWEST:
            continue
        queries.append(query)
        bodies.append(body)
        told = [[number.setdefault(word, len(number)) for word in re.findall("[a-z]{2,}", line.lower())] for line in rest.splitlines()]
        lines.append([line for line in told if len(line) > 1] or [told[0]])
    if not bodies:
        raise PartError(f"{part}: this Python has no docstrings, as when it was installed without sources")
    return Library(number, queries, bodies, lines)


def counted(library: Library) -> Counts:
    """The counts of ``library``."""
    import numpy as np

    often = np.zeros((len(library.bodies), len(library.number)))
    for place, body in enumerate(library.bodies):
        np.add.at(often[place], [library.number[word] for word in body], 1)
    among = (often > 0).sum(axis=0)
    share = often.sum(axis=0) / often.sum()
    kept = np.minimum(1, np.sqrt(COMMON / share))
    return Counts(often, np.log1p(len(often) / among), among / among.sum(), kept, float(often.sum() / len(often)))


def features(words: list[int] | np.ndarray, place: int | slice, counts: Counts, taken: np.ndarray | float = 0.0) -> np.ndarray:
    """Five numbers of ``words`` and the body at ``place``, or of all [documents, 5]; ``taken`` is off how often they stand there."""
    import numpy as np

    often = np.maximum(counts.often[place][..., words] - taken, 0)
    occurs, saturated, rarity = often > 0, often / (often + SATURATION), counts.rarity[words]
    return np.stack([one.mean(axis=-1) for one in (occurs, np.log1p(often), saturated, occurs * rarity, saturated * rarity)], axis=-1)
