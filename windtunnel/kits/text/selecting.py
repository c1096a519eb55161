"""What curators share that choose text by hashed words: features of documents, a classifier on them, and which share stays."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.core.errors import PartError
from windtunnel.data.corpus.fields import text_of
from windtunnel.kits.text.words import Ragged, runs, words_of
from windtunnel.slots.curator import ROW

if TYPE_CHECKING:
    import pyarrow

    from windtunnel.slots import Source


def features(texts: Sequence[str], buckets: int, order: int) -> Ragged:
    """The bucket of every run of 1 to ``order`` words of each text, uint32: hashed n-grams, as often as they occur."""
    words = words_of(texts)
    found = [runs(words, size) for size in range(1, order + 1)]
    hashes = np.concatenate([hashes for hashes, _ in found])
    owner = np.concatenate([words.document[first] for _, first in found])
    place = np.argsort(owner, kind="stable")
    values = (hashes[place] % np.uint64(buckets)).astype(np.uint32)
    return Ragged(values, np.cumsum(np.bincount(owner, minlength=len(texts))))


def pooled(documents: pyarrow.RecordBatch, places: list[int], buckets: int, order: int) -> dict[str, np.ndarray]:
    """What a selector's scan says of the rows ``places``: their numbers, characters and features."""
    texts = text_of(documents)
    chosen = [texts[place] or "" for place in places]
    found = features(chosen, buckets, order)
    row = documents.column(ROW).to_numpy()[np.array(places, np.int64)]
    return {"row": row, "characters": np.array([len(text) for text in chosen], np.int64), "values": found.values, "ends": found.ends}


def target(source: Source, characters: int, name: str, *, each: int | None = None) -> list[str]:
    """The texts of ``source``, of each at most ``each`` characters, up to so many ``characters`` in all.

    Raises:
        PartError: where there is none.
    """
    from windtunnel.data.corpus.frame import texts_of
    from windtunnel.data.corpus.tally import Tally

    found: list[str] = []
    for text in texts_of(source, Tally(name)):
        if characters <= 0:
            break
        if text.strip():
            found.append(text[: characters if each is None else min(each, characters)])
            characters -= len(found[-1])
    if not found:
        raise PartError(f"{name}: the text it is to resemble is empty; name another source")
    return found


def overlap(texts: Sequence[str], scans: Sequence[Mapping[str, np.ndarray]], buckets: int, order: int) -> int:
    """How many documents of the pool have just the features of one of ``texts``."""
    known = {_key(one) for one in _each(features(texts, buckets, order))} - {b""}  # signs alone have no features
    return sum(_key(one) in known for scan in scans for one in _each(Ragged(scan["values"], scan["ends"])))


def refuse_overlap(texts: Sequence[str], scans: Sequence[Mapping[str, np.ndarray]], buckets: int, name: str, what: str) -> None:
    """Raise PartError, for the curator ``name``, where the pool has documents of its ``what``: they would be kept for being known."""
    if number := overlap(texts, scans, buckets, 2):
        raise PartError(
            f"{name}: {number:,} documents of the {what} are in the pool, and would be kept for being known; "
            "take them out of one, or allow it with overlap: true"
        )


def _each(found: Ragged) -> Iterator[np.ndarray]:
    for begin, end in itertools.pairwise(np.append(0, found.ends)):
        yield found.values[begin:end]


def _key(values: np.ndarray) -> bytes:
    return np.asarray(values).tobytes()


def sums(found: Ragged, weights: np.ndarray) -> np.ndarray:
    """The sum of the ``weights`` of the features of each text, float64."""
    total = np.append(0.0, np.cumsum(weights[found.values], dtype=np.float64))
    ends = np.append(0, found.ends)
    return total[ends[1:]] - total[ends[:-1]]


def means(found: Ragged, weights: np.ndarray) -> np.ndarray:
    """The mean weight of the features of each text; 0 for one without any."""
    return sums(found, weights) / np.maximum(1, np.diff(np.append(0, found.ends)))


def classifier(good: Ragged, bad: Ragged, buckets: int, strength: float = 1e-4) -> tuple[np.ndarray, float]:
    """Weights by bucket and a bias of the logistic regression that tells ``good`` texts from ``bad`` ones by the mean of their features.

    Like fastText without its hidden layer, fitted to the end (L-BFGS) instead of for some epochs; both kinds weigh alike. ``strength`` is
    that of the squared penalty on weights, for features scaled to unit length.
    """
    from scipy.optimize import minimize
    from scipy.sparse import csr_array, vstack

    def rows(found: Ragged) -> Any:
        counts = np.maximum(1, np.diff(np.append(0, found.ends)))
        data = np.repeat(1 / np.sqrt(counts), np.diff(np.append(0, found.ends)))
        matrix = csr_array((data, found.values.astype(np.int64), np.append(0, found.ends)), shape=(len(found.ends), buckets))
        matrix.sum_duplicates()
        return matrix

    matrix = vstack([rows(good), rows(bad)]).tocsr()
    used = np.unique(matrix.indices)
    matrix = matrix[:, used]
    sign = np.concatenate([np.ones(len(good.ends)), -np.ones(len(bad.ends))])
    share = np.where(sign > 0, 0.5 / max(1, len(good.ends)), 0.5 / max(1, len(bad.ends)))

    def loss(point: np.ndarray) -> tuple[float, np.ndarray]:
        margin = sign * (matrix @ point[:-1] + point[-1])
        slope = -sign * share / (1 + np.exp(np.clip(margin, -500, 500)))
        value = float(share @ np.logaddexp(0, -margin)) + strength / 2 * float(point[:-1] @ point[:-1])
        return value, np.append(matrix.T @ slope + strength * point[:-1], slope.sum())

    point = minimize(loss, np.zeros(len(used) + 1), jac=True, method="L-BFGS-B", options={"maxiter": 200}).x
    weights = np.zeros(buckets)
    weights[used] = point[:-1]
    return weights, float(point[-1])


def scored(found: Ragged, weights: np.ndarray, bias: float) -> np.ndarray:
    """What :func:`classifier` says of texts: the log odds of good, from features scaled as there."""
    counts = np.maximum(1, np.diff(np.append(0, found.ends)))
    return sums(found, weights) / np.sqrt(counts) + bias


def best(scores: np.ndarray, characters: np.ndarray, keep: float, name: str) -> np.ndarray:
    """Which documents stay (bool): those of the highest ``scores`` that together have the share ``keep`` of the characters, at least one.

    Raises:
        PartError: where scores are no numbers, saying how many; nothing is chosen by them.
    """
    if not len(scores):
        raise PartError(f"{name}: no document with text to choose from")
    if nan := int(np.isnan(scores).sum()):
        raise PartError(f"{name}: the scores of {nan:,} of {len(scores):,} documents are not numbers, so none can be chosen by them")
    order = np.argsort(-scores, kind="stable")
    held = np.cumsum(characters[order])
    stays = np.zeros(len(scores), bool)
    stays[order[held <= keep * held[-1] * (1 + 1e-9)]] = True
    stays[order[0]] = True
    return stays


def gone(documents: pyarrow.RecordBatch, found: Mapping[str, np.ndarray], what: str) -> list[str | None]:
    """Why the rows go whose numbers are in ``found["row"]`` (ascending), with their ``found["score"]``."""
    rows = documents.column(ROW).to_numpy()
    reasons: list[str | None] = [None] * len(rows)
    for place in np.flatnonzero(np.isin(rows, found["row"])):
        reasons[place] = f"{what}: {found['score'][np.searchsorted(found['row'], rows[place])]:.4g}"
    return reasons


def joined(scans: Sequence[Mapping[str, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """The numbers and the characters of all documents of the pool."""
    return tuple(np.concatenate([scan[name] for scan in scans]) for name in ("row", "characters"))  # type: ignore[return-value]


def whole(scans: Sequence[Mapping[str, np.ndarray]]) -> Ragged:
    """The features of all documents of the pool."""
    sizes = np.concatenate([np.diff(np.append(0, scan["ends"])) for scan in scans])
    return Ragged(np.concatenate([scan["values"] for scan in scans]), np.cumsum(sizes, dtype=np.int64))


def decision(rows: np.ndarray, scores: np.ndarray, stays: np.ndarray) -> dict[str, np.ndarray]:
    """What judging needs: the numbers and scores of the documents that go."""
    return {"row": rows[~stays], "score": scores[~stays]}


def sampled(scans: Sequence[Mapping[str, np.ndarray]], chosen: Sequence[int]) -> Ragged:
    """The features of the documents ``chosen`` (ascending places among all)."""
    values, sizes, before, left = [], [], 0, list(chosen)
    for scan in scans:
        count = len(scan["row"])
        own = [one - before for one in left if one < before + count]
        left, before = left[len(own) :], before + count
        ends = np.append(0, scan["ends"])
        for one in own:
            values.append(np.asarray(scan["values"][ends[one] : ends[one + 1]]))
            sizes.append(len(values[-1]))
    return Ragged(np.concatenate([np.zeros(0, np.uint32), *values]), np.cumsum(sizes, dtype=np.int64))
