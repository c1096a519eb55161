"""Windows over whole documents, the same documents for every model whatever its tokenizer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from windtunnel.data.stream import Stream
from windtunnel.slots import HeldOut, Objective

SEED = 0  # of the choice of documents


def chosen(stream: Stream, split: str, source: str, most_bytes: int | None) -> np.ndarray:
    """Documents of a source as places in it, rising: all of them, or so many drawn at random that they hold ``most_bytes``, at least one.

    Which ones depends on the corpus alone, and not on how it is encoded.
    """
    sizes = stream.document_bytes(split, source)
    if most_bytes is None or not len(sizes):
        return np.arange(len(sizes))
    order = np.random.default_rng(SEED).permutation(len(sizes))
    within = np.cumsum(sizes[order]) <= most_bytes
    return np.sort(order[: max(1, int(within.sum()))])


def rolling(
    stream: Stream, split: str, *, objective: Objective, context: int, sequences: int, device: Any, precision: Any, most_bytes: int | None
) -> HeldOut:
    """As :func:`windtunnel.data.held_out.held_out`, but every document is cut into windows of its own, from its beginning.

    Each unit of a document but the first is a label once, given those before it in its window, of which there is at least one. The last
    window of a document reaches back to be full, so that its labels have as many before them as there is room for (as the rolling
    likelihood of lm-eval). A batch is as wide as the longest window in it. Documents are those of :func:`chosen`.
    """
    ahead = stream.encoding.ahead
    places: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]] = {}
    for source in stream.sources:
        documents = chosen(stream, split, source, most_bytes)
        lengths = stream.lengths(split, source)[documents]
        counts = np.maximum(0, -(-(lengths - ahead) // context))
        each = np.repeat(np.arange(len(documents)), counts)
        begin = (np.arange(len(each)) - np.repeat(np.cumsum(counts) - counts, counts)) * context
        end = np.minimum(begin + context + ahead, lengths[each])
        fuller = np.maximum(0, end - context - ahead)
        order = np.argsort(fuller - end, kind="stable")  # the longest first: what memory it takes is known at once
        if len(order):
            places[source] = documents[each][order], fuller[order], end[order], (begin - fuller)[order]

    def batches(source: str, objective: Objective) -> Iterator[dict[str, torch.Tensor]]:
        documents, begins, ends, again = places[source]
        for first in range(0, len(documents), sequences):
            part = slice(first, first + sequences)
            length = ends[part] - begins[part]
            units = stream.gather(split, source, documents[part], begins[part], ends[part])
            there = np.arange(length.max()) < length[:, None]
            tokens = np.zeros(there.shape, dtype=np.int64)
            tokens[there] = units
            position = np.where(there, np.arange(length.max()), 0)
            rows = {stream.field(): tokens, "documents": np.where(there, 0, -1), "positions": position}
            rows["sources"] = np.full(len(length), stream.sources.index(source))
            prepared = objective.whole(objective.batch(rows, stream.facts, np.random.default_rng(first)))
            seen = np.arange(prepared["labels"].shape[1]) < again[part][:, None]
            prepared["labels"] = np.where(seen, -100, prepared["labels"])  # a window before has had them
            yield {key: torch.from_numpy(np.ascontiguousarray(value)).to(device) for key, value in prepared.items()}

    return HeldOut(
        sources=tuple(places),
        batches=batches,
        begins=lambda source: places[source][0],
        stream=stream,
        facts=stream.facts,
        objective=objective,
        device=torch.device(device),
        precision=precision,
        split=split,
        context=context,
    )
