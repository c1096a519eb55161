"""Whether a model was trained on a text: scores of pieces of text, and how well these tell one set of texts from another."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
FOLDS = 5  # of the classifier that knows no model
FALSE_ALARMS = 0.05
FEWEST = 10  # pieces on a side, with fewer of which an area says nothing


class Beginnings(NamedTuple):
    """The beginnings of documents, all of as many tokens: ``tokens`` int64 [pieces, 1 + length]. The first leads and is not predicted."""

    tokens: Array
    texts: list[str]

    @property
    def rows(self) -> list[tuple[list[int], int]]:
        """What :func:`windtunnel.kits.text.prepacked.ending_nats` takes."""
        return [(row.tolist(), len(row) - 1) for row in self.tokens]


class Area(NamedTuple):
    """The area under a ROC curve, bounds of it, and the share found at a share of false alarms of :data:`FALSE_ALARMS`."""

    value: float
    low: float
    high: float
    found: float


def pieces(stream: Any, split: str, sources: Sequence[str], length: int, most: int, who: str) -> Beginnings:
    """The first ``length`` tokens of at most ``most`` documents of ``sources``, evenly spaced; shorter documents are left out."""
    from windtunnel.kits.text.encoded import text_of

    tokenizer = text_of(stream, who).tokenizer
    places = [(source, int(document)) for source in sources for document in np.flatnonzero(stream.lengths(split, source) > length)]
    chosen = [places[place] for place in np.linspace(0, len(places) - 1, min(len(places), most)).astype(int)]
    tokens = np.zeros((len(chosen), length + 1), np.int64)
    for row, (source, document) in enumerate(chosen):
        one, begin, end = (np.array([number]) for number in (document, 0, length + 1))
        tokens[row] = stream.gather(split, source, one, begin, end)
    return Beginnings(tokens, [str(tokenizer.decode(row[1:].tolist(), clean_up_tokenization_spaces=False)) for row in tokens])


def scores(nats: Array, pieces: Beginnings, counts: Array, *, share: float, cap: float) -> dict[str, Array]:
    """Higher for what was trained on, by name, a number a piece.

    ``loss``: the mean log-probability. ``zlib``: the same over the bytes that zlib makes of the text (Carlini et al. 2021, 2012.07805).
    ``min-k``: the mean over the ``share`` of tokens that are least likely, at least one (Shi et al. 2023, 2310.16789). ``dc-pdd``: over
    the first occurrence of each token, its probability times minus the logarithm of its frequency, at most ``cap`` (Zhang et al. 2024,
    2409.14781); ``counts`` are those of a reference, [vocabulary].
    """
    fewest = max(1, int(share * nats.shape[1]))
    least = -np.sort(-nats, axis=1)[:, :fewest]
    compressed = np.array([len(zlib.compress(text.encode())) for text in pieces.texts], np.float64)
    rarity = -np.log((counts + 1) / (counts.sum() + len(counts)))
    terms = np.minimum(np.exp(-nats) * rarity[pieces.tokens[:, 1:]], cap)
    first = np.zeros(nats.shape, bool)
    for row, tokens in enumerate(pieces.tokens[:, 1:]):
        first[row, np.unique(tokens, return_index=True)[1]] = True
    return {
        "loss": -nats.mean(axis=1),
        "zlib": -nats.sum(axis=1) / compressed,
        "min-k": -least.mean(axis=1),
        "dc-pdd": np.where(first, terms, 0.0).sum(axis=1) / first.sum(axis=1),
    }


def told_apart(members: Beginnings, others: Beginnings, vocabulary: int) -> Area:
    """How well a classifier that knows no model tells the two sets: naive Bayes on tokens, each piece judged by what the others say.

    Two fair samples of one distribution it cannot tell. Where it can, so can any score, and no area says anything of a training.
    """
    sides = [np.stack([np.bincount(row[1:], minlength=vocabulary) for row in one.tokens]) for one in (members, others)]
    told: list[Array] = [np.zeros(len(side)) for side in sides]
    for fold in range(FOLDS):
        odds = []
        for side in sides:
            learnt = np.delete(side, np.arange(fold, len(side), FOLDS), axis=0).sum(axis=0) + 0.5
            odds.append(np.log(learnt / learnt.sum()))
        for each, side in zip(told, sides, strict=True):
            each[fold::FOLDS] = side[fold::FOLDS] @ (odds[0] - odds[1])
    return area(told[0], told[1])


def area(members: Array, others: Array, confidence: float = 0.95) -> Area:
    """The area under the ROC curve of ``members`` against ``others``: the chance that one of the former is the higher, ties half.

    The interval is that of DeLong et al. 1988 on the scale of the logit.
    """
    above = (members[:, None] > others[None, :]) + 0.5 * (members[:, None] == others[None, :])
    value = float(above.mean())
    error = math.sqrt(above.mean(axis=1).var(ddof=1) / len(members) + above.mean(axis=0).var(ddof=1) / len(others))
    error = max(error, 0.5 / min(len(members), len(others)))  # where no pair is out of order nothing scatters
    inner = min(max(value, error), 1 - error)
    middle, half = math.log(inner / (1 - inner)), NormalDist().inv_cdf((1 + confidence) / 2) * error / (inner * (1 - inner))
    low, high = (1 / (1 + math.exp(-min(700.0, max(-700.0, middle + sign * half)))) for sign in (-1, 1))
    threshold = np.quantile(others, 1 - FALSE_ALARMS)
    return Area(value, min(low, value), max(high, value), float((members > threshold).mean()))
