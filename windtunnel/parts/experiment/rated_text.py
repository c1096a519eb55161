"""Choosing documents by a small rater's scores of several criteria, over all, or kind by kind."""

from __future__ import annotations

import itertools
import random
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.kits.ridge import ridge
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np

HELD_OUT = 40  # documents of each kind
CRITERIA = ("coherence", "density", "completeness", "originality", "overall")  # each from 1 to 5


class RatedText(Experiment, name="rated-text"):
    """Bits a word of good held-out text of two kinds, under a model of the documents that a rater's scores let through.

    Peng et al. 2025 (DataMan), arXiv:2502.19363: a small model that learned from rated documents rates all others from 1 to 5 by criteria
    and over all, the last asked for and not computed from the others; within each source and domain only documents of the highest overall
    score are drawn. Two kinds of text are Python's manual and its library's source, the latter spoiled three times as often: words or
    lines in a random order (coherence), page furniture (density), cut off within the eighth line (completeness), a copy of another
    (originality). A rule gives the ratings of ``annotated`` documents: by a criterion 1 if its fault is there and else 5, over all 5
    less two for each fault, but 1 at least. A ridge on five features of a text learns them.

    ``stratified`` takes the best of each kind in proportion to how much there is of it, ``top`` the best of all, ``one-criterion`` the most
    coherent of each kind, ``uniform`` any, ``half-more`` any, and half as many again, ``shortest`` the shortest words (a baseline),
    ``good`` what has no fault. The model counts runs of three words, of as many words in every arm but one. The numbers are ``bits``, the
    mean of both kinds; ``bits/prose`` and ``bits/code``; ``faulty``, the share of chosen documents with a fault; ``rater``, the share of
    overall ratings that are right to within a half.
    """

    trial = Trial({"documents": 60, "annotated": 20, "words": 400})

    unit: ClassVar[str] = "bits a word"

    how: Literal["stratified", "top", "one-criterion", "uniform", "half-more", "shortest", "good"] = Field(
        "stratified", description="what is chosen by"
    )
    documents: int = Field(360, ge=20, description="to choose from, of both kinds")
    annotated: int = Field(100, ge=10, description="documents that are rated by the rule")
    share: float = Field(0.33, gt=0, le=0.6, description="of the documents that are chosen")
    words: int = Field(16000, ge=100, description="that the model learns from; half as many again in `half-more`")

    def measure(self, seed: int) -> dict[str, float]:
        """``bits``, ``bits/prose``, ``bits/code``, ``faulty`` and ``rater``."""
        import numpy as np

        from windtunnel.kits.text.manual import bits_of

        chance = random.Random(f"{self.name} {seed}")
        held, rated = self._made(chance)
        known, pool = rated[: self.annotated], rated[self.annotated :]
        seen: set[str] = set()
        inputs = np.array([features(one.text, seen) for one in rated])
        inputs = (inputs - inputs[: self.annotated].mean(axis=0)) / (inputs[: self.annotated].std(axis=0) + 1e-9)
        wide = np.hstack([inputs, np.ones((len(inputs), 1))])
        wanted = np.array([one.ratings for one in known], float)
        told = (wide @ ridge(wide[: self.annotated], wanted, 1.0))[self.annotated :]
        chosen = self._chosen(pool, told, chance)
        amount = round(1.5 * self.words) if self.how == "half-more" else self.words
        texts = [pool[place].text for place in chosen]
        chance.shuffle(texts)
        bits = {kind: bits_of(texts, text, amount) for kind, text in held.items()}
        right = np.abs(told[:, -1] - np.array([one.ratings[-1] for one in pool])) <= 0.5
        return {
            "bits": sum(bits.values()) / 2,
            **{f"bits/{kind}": value for kind, value in bits.items()},
            "faulty": float(np.mean([pool[place].ratings[-1] < 5 for place in chosen])),
            "rater": float(right.mean()),
        }

    def _made(self, chance: random.Random) -> tuple[dict[str, list[str]], list[Rated]]:
        """Held-out text of both kinds, and documents with their right ratings, in a random order."""
        from windtunnel.kits.text.manual import asked, code_pieces, pieces

        size = (self.documents + self.annotated) // 2
        found: list[Rated] = []
        held = {}
        for kind, texts in (("prose", pieces(chance)), ("code", code_pieces(chance))):
            texts = asked(self.name, texts, HELD_OUT + size)
            held[kind], own = texts[:HELD_OUT], texts[HELD_OUT:]
            found += [spoil(own[n], kind, own, chance, 0.08 if kind == "prose" else 0.24) for n in range(len(own))]
        chance.shuffle(found)
        return held, found

    def _chosen(self, pool: list[Rated], told: np.ndarray, chance: random.Random) -> list[int]:
        """Places in the pool."""
        import numpy as np

        count = round(self.share * len(pool)) * (1.5 if self.how == "half-more" else 1)
        noise = np.array([chance.random() for _ in pool])
        score = {
            "one-criterion": told[:, 0],
            "good": np.array([one.ratings[-1] for one in pool]) + 0.5 * noise,
            "shortest": -np.array([len(one.text) / max(len(one.text.split()), 1) for one in pool]),
        }.get(self.how, noise if self.how in ("uniform", "half-more") else told[:, -1])
        order = np.argsort(-score, kind="stable")
        if self.how not in ("stratified", "one-criterion"):
            return [int(place) for place in order[: round(count)]]
        kinds = np.array([one.kind for one in pool])
        parts = [order[kinds[order] == kind] for kind in ("prose", "code")]
        return [int(place) for part in parts for place in part[: round(count * len(part) / len(pool))]]


class Rated(NamedTuple):
    """A document, its kind and its right ratings, by :data:`CRITERIA`."""

    text: str
    kind: str
    ratings: tuple[int, ...]


def spoil(text: str, kind: str, others: list[str], chance: random.Random, often: float) -> Rated:
    """``text`` with each of four faults, ``often`` as said."""
    from windtunnel.kits.text.manual import furnished, salad

    faults = [chance.random() < often for _ in range(4)]
    if faults[3]:
        text = others[0]
    if faults[0]:
        lines = text.split("\n")
        text = salad(text, chance) if chance.random() < 0.5 else "\n".join(chance.sample(lines, len(lines)))
    if faults[2]:
        text = "\n".join(text.split("\n")[:8])[:-15]
    if faults[1]:
        text, _ = furnished(text, chance, ["offers", "shop", "login", "forum", "travel"], 0.8)
    ratings = [5 - 4 * fault for fault in faults]
    return Rated(text, kind, (*ratings, max(5 - 2 * sum(faults), 1)))


def features(text: str, seen: set[str]) -> list[float]:
    """Of a document: its lines, pairs of short words, jumps of indentation, words of furniture, and lines seen before.

    ``seen`` are the lines of the documents before it, which it joins.
    """
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    words = text.split()
    near = sum(len(one) <= 3 and len(two) <= 3 for one, two in itertools.pairwise(words)) / max(len(words), 1)
    indented = [len(line) - len(line.lstrip()) for line in text.split("\n")]
    jumps = sum(abs(one - two) for one, two in itertools.pairwise(indented)) / max(len(lines), 1)
    web = sum(word in text for word in ("Copyright", "cookies", "Share", "newsletter", "Posted", "https", "Previous:", "Home |"))
    known = sum(line in seen for line in lines if len(line) > 20) / max(len(lines), 1)
    seen.update(lines)
    return [float(len(lines)), near, jumps, float(web), known]
