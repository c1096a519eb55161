"""Exact search: which of many passages a query's own one comes out as, by vectors and by words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

CELLS = 1 << 24  # scores that are held at once
SATURATION, LENGTH = 1.2, 0.75  # k1 and b of BM25, as Lucene has them


def pooled(model: Any, tokens: torch.Tensor, lengths: torch.Tensor, pool: str) -> torch.Tensor:
    """A vector of length 1, float32 [B, width], for each of ``tokens`` [B, T], of which ``lengths`` [B] stand before the padding.

    ``pool``: ``last`` takes the last hidden state of the last token, ``mean`` the mean over all tokens.
    """
    import torch
    from torch.nn.functional import normalize

    from windtunnel.models.forward import forward, head_apart
    from windtunnel.models.init import family_of

    real = torch.arange(tokens.shape[1], device=tokens.device) < lengths[:, None]  # the padding may be a token of the text too
    causal = family_of(model.config).kind == "decoder"  # what pads the end is seen by nothing before it, so no mask is needed
    documents = None if causal else torch.where(real, 0, -1)
    outputs = forward(model, tokens, documents, needs=frozenset({"hidden_states"}), logits=not head_apart(model))
    states = outputs.hidden_states[-1].float()
    if pool == "mean":
        found = (states * real[..., None]).sum(dim=1) / lengths[:, None].clamp(min=1)
    else:
        found = states[torch.arange(len(tokens), device=tokens.device), lengths.clamp(min=1) - 1]
    return normalize(found, dim=-1)


def ranks(queries: NDArray[np.float32], passages: NDArray[np.float32], own: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
    """How many of ``passages`` [P, width] score at least as high as a query's own, itself left out: int64 [Q].

    ``own`` [Q]: the place of the passage of each of ``queries`` [Q, width] (default: they stand in one order). Scores are inner products. A
    passage that ties counts against the model, so one vector for everything finds nothing, and so does one that is no number.
    """
    own = np.arange(len(queries)) if own is None else own
    found = np.empty(len(queries), np.int64)
    across = np.ascontiguousarray(passages.T)
    step = max(1, CELLS // max(1, len(passages)))
    for begin in range(0, len(queries), step):
        scores = queries[begin : begin + step] @ across
        score = scores[np.arange(len(scores)), own[begin : begin + step]]
        found[begin : begin + step] = (~(scores < score[:, None])).sum(axis=1) - 1
    return found


def bm25_ranks(queries: Sequence[Sequence[str]], passages: Sequence[Sequence[str]]) -> NDArray[np.int64]:
    """The same by BM25 over words, the n-th passage being that of the n-th query.

    Robertson and Zaragoza 2009, with k1 = 1.2, b = 0.75 and the inverse document frequency of Lucene, log(1 + (N - n + 0.5) / (n + 0.5)).
    """
    from scipy.sparse import csr_matrix

    number: dict[str, int] = {}
    for passage in passages:
        for word in passage:
            number.setdefault(word, len(number))
    counts = _counts(passages, number)
    lengths = np.asarray(counts.sum(axis=1)).ravel()
    frequency = np.bincount(counts.indices, minlength=len(number))
    rarity = np.log1p((len(passages) - frequency + 0.5) / (frequency + 0.5))
    row = np.repeat(np.arange(len(passages)), np.diff(counts.indptr))
    spread = SATURATION * (1 - LENGTH + LENGTH * lengths / max(lengths.mean(), 1))
    weights = counts.data * (SATURATION + 1) / (counts.data + spread[row]) * rarity[counts.indices]
    across = csr_matrix((weights, counts.indices, counts.indptr), counts.shape).T.tocsr()
    asked = _counts(queries, number)
    step = max(1, CELLS // max(1, len(passages)))
    found = []
    for begin in range(0, len(queries), step):
        scores = asked[begin : begin + step] @ across
        place = np.arange(scores.shape[0])
        own = np.asarray(scores[place, begin + place]).ravel()
        row = np.repeat(place, np.diff(scores.indptr))
        least = np.bincount(row[scores.data >= own[row]], minlength=len(place))
        found.append(np.where(own > 0, least, len(passages)) - 1)  # what shares no word with its query ties with all
    return np.concatenate(found)


def _counts(texts: Sequence[Sequence[str]], number: dict[str, int]) -> Any:
    """How often each word that has a number stands in each text: a sparse matrix [texts, words]."""
    from scipy.sparse import csr_matrix

    columns = [[number[word] for word in text if word in number] for text in texts]
    ends = np.cumsum([0, *map(len, columns)])
    indices = np.fromiter((column for each in columns for column in each), np.int64, int(ends[-1]))
    found = csr_matrix((np.ones(len(indices), np.float32), indices, ends), (len(texts), len(number)))
    found.sum_duplicates()
    return found


def reciprocal(places: NDArray[np.int64], most: int = 10) -> float:
    """The mean reciprocal rank: 1 over the place of each query's own passage, counted from one, 0 where it is not among the ``most``."""
    return float(np.where(places < most, 1 / (places + 1), 0.0).mean())
