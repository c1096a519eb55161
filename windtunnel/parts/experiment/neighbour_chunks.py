"""Text predicted with the help of passages that are like what stands just before it."""

from __future__ import annotations

import functools
import itertools
import math
import re
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

from pydantic import Field

from windtunnel.core.errors import PartError
from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np

SHARES = tuple(each / 20 for each in range(20))  # of the neighbours' prediction, tried on validation texts
FORGET = 0.4  # share of a prediction by two words that goes to one by fewer


class NeighbourChunks(Experiment, name="neighbour-chunks"):
    """The loss on a text of which each chunk is predicted with the chunks that are nearest to the one before it, in nats a word.

    Wang et al. 2024 (InstructRetro), arXiv:2310.07713, of Borgeaud et al. 2022 (Retro), arXiv:2112.04426: a text is split into chunks; for
    each the nearest chunks in a database are found by a frozen encoder, and they and what follows them are read when the next chunk is
    predicted, so nothing that is to be predicted is searched with.

    Texts are pieces of Python's manual; three of five are the database and train a model that counts words after one word (with what is
    left for words alone), one of five says how to mix, one of five is judged. The nearest are those of greatest cosine of tf-idf. A
    neighbour's prediction is by its own words after the same word, and by its words alone; it is mixed in with the share that is best on
    validation texts. ``shown`` is two chunks that are ``nearest``, at ``random``, ``none``, or ``nearest`` without what follows
    (``alone``). ``nats`` is the loss, ``share`` the share of the neighbours, ``rare`` the loss on words that come at most three times in
    the database.
    """

    trial = Trial({"chunk": 24})

    unit: ClassVar[str] = "nats"

    shown: Literal["nearest", "random", "alone", "none"] = Field("nearest", description="what stands beside")
    chunk: int = Field(32, ge=4, description="words of a chunk")
    neighbours: int = Field(2, ge=1, description="chunks that are shown, each with the one behind it")

    def measure(self, seed: int) -> dict[str, float]:
        """``nats``, ``share`` and ``rare``. Raises PartError where this Python has too little of its manual."""
        import numpy as np

        random = np.random.default_rng(seed)
        texts = manual()
        if len(texts) < 50:
            raise PartError(
                f"{self.name}: this Python's manual (pydoc_data) has {len(texts)} pieces; a Python with its documentation is needed"
            )
        order = [texts[place] for place in random.permutation(len(texts))]
        fifth = len(order) // 5
        model = Bigrams(order[2 * fifth :])
        chunks = [each for text in order[2 * fifth :] for each in self._chunks(text)]
        validation, tested = (self._predicted(part, chunks, model, random) for part in (order[:fifth], order[fifth : 2 * fifth]))
        share = min(SHARES, key=lambda each: loss(validation, each)) if self.shown != "none" else 0.0
        few = [each for each in tested if each.often <= 3]
        return {"nats": loss(tested, share), "share": share, "rare": loss(few, share)}

    def _chunks(self, text: list[str]) -> list[list[list[str]]]:
        """Chunks of a text, each with the one behind it."""
        parts = [text[start : start + self.chunk] for start in range(0, len(text), self.chunk)]
        return [[one, other] for one, other in zip(parts, [*parts[1:], []], strict=True)]

    def _predicted(
        self, texts: list[list[str]], chunks: list[list[list[str]]], model: Bigrams, random: np.random.Generator
    ) -> list[Predicted]:
        """Every word of ``texts`` from the second chunk on, by the model and by the neighbours of the chunk before."""
        import numpy as np

        asked = [pair for text in texts for pair in self._chunks(text) if pair[1]]
        if self.shown == "random":
            near = random.integers(len(chunks), size=(len(asked), self.neighbours))
        elif self.shown == "none":
            near = np.zeros((len(asked), 0), int)
        else:
            near = nearest([pair[0] for pair in asked], [pair[0] for pair in chunks], self.neighbours)
        found = []
        for (before, text), places in zip(asked, near, strict=True):
            beside = [chunks[place][0] + ([] if self.shown == "alone" else chunks[place][1]) for place in places]
            cache = Bigrams(beside) if beside else None
            for last, word in zip([before[-1], *text], text, strict=False):
                by_cache = cache.chance(word, last, 0.0) if cache else 0.0
                found.append(Predicted(model.chance(word, last, 1 / len(model.words)), by_cache, model.words[word]))
        return found


class Predicted(NamedTuple):
    """The chance of a word by the model and by its neighbours, and how ``often`` the database has it."""

    own: float
    beside: float
    often: int


class Bigrams:
    """Counts of words, and of words after a word, over texts."""

    def __init__(self, texts: list[list[str]]) -> None:
        self.words, self.after = Counter(word for text in texts for word in text), defaultdict[str, Counter[str]](Counter)
        for text in texts:
            for last, word in itertools.pairwise(text):
                self.after[last][word] += 1
        self.total = sum(self.words.values())
        self.totals = {last: sum(counts.values()) for last, counts in self.after.items()}

    def chance(self, word: str, last: str, floor: float) -> float:
        """Of ``word`` behind ``last``; a twentieth goes evenly to words of chance ``floor``, where that is above 0."""
        alone = self.words[word] / max(1, self.total)
        alone = 0.95 * alone + 0.05 * floor if floor else alone
        seen = self.totals.get(last, 0)
        kept = (1 - FORGET) * seen / (seen + 1)
        return kept * self.after[last][word] / seen + (1 - kept) * alone if seen else alone


def loss(some: list[Predicted], share: float) -> float:
    """The mean of minus the logarithm of the mixed chance."""
    return -sum(math.log((1 - share) * each.own + share * each.beside) for each in some) / max(1, len(some))


def nearest(asked: list[list[str]], chunks: list[list[str]], count: int) -> np.ndarray:
    """The places of the ``count`` of ``chunks`` with the greatest cosine of tf-idf to each of ``asked``."""
    import numpy as np

    number = {word: place for place, word in enumerate(sorted({word for each in chunks for word in each}))}
    there = np.zeros((len(chunks), len(number)), np.float32)
    for place, each in enumerate(chunks):
        for word in each:
            there[place, number[word]] += 1
    rarity = np.log(len(chunks) / (there > 0).sum(axis=0)).astype(np.float32)
    there *= rarity
    there /= np.linalg.norm(there, axis=1, keepdims=True) + 1e-9
    wanted = np.zeros((len(asked), len(number)), np.float32)
    for place, each in enumerate(asked):
        for word in each:
            if word in number:
                wanted[place, number[word]] += rarity[number[word]]
    return np.argsort(-(wanted @ there.T), axis=1)[:, :count]


@functools.cache
def manual() -> list[list[str]]:
    """Pieces of Python's manual, in words and signs."""
    import random

    from windtunnel.kits.text.manual import pieces

    return [re.findall(r"[a-z_]+|[^\sa-z_]", text.lower()) for text in pieces(random.Random(0))]
