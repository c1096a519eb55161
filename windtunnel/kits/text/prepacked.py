"""What a model says of many rows of tokens of different lengths, several of them in one sequence where that saves padding.

Zhao et al. 2024, "Prepacking", arXiv:2404.09529: rows are packed into sequences as long as the longest, each sees itself alone and counts
its positions from its own beginning, so the numbers are those of each row by itself. A sequence of several rows needs a mask, which makes
attention over it dense; so rows that are of about one length stand alone, sorted by length, which is what packing has to beat.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from windtunnel.slots import HeldOut

Array = NDArray[Any]
Row = tuple[Sequence[int], int]  # the tokens, and how many of the last of them are judged
ROWS = 32  # sequences in one forward pass
SAVES = 0.8  # of the tokens that sorted rows take with their padding; only then are rows packed


class Sequences(NamedTuple):
    """Rows laid into sequences: arrays int64 [sequences, longest], and where in them each row begins."""

    tokens: Array
    documents: Array
    positions: Array
    places: list[tuple[int, int]]


def ending_nats(model: Any, rows: Sequence[Row], *, objective: Any, held_out: HeldOut) -> list[Array]:
    """The nats of the last tokens of each row that are judged, given all before them in it: float64, one array a row, in their order.

    ``objective`` is `next-token`, with a mode token before each row where it says so.
    """
    lengths = [len(tokens) for tokens, _ in rows]
    found: list[Array] = [np.zeros(0)] * len(rows)
    for batch in batches(lengths, packs=objective.mode is None):
        own = [place for sequence in batch for place in sequence]
        laid = laid_out([[rows[place][0] for place in sequence] for sequence in batch], held_out.facts.pad or 0)
        values, targets = _values(model, laid, objective, held_out)
        for place, (sequence, begin) in zip(own, laid.places, strict=True):
            ending, end = rows[place][1], begin + lengths[place]
            # A mode token widens a sequence, whose only row ends with its last target.
            columns = np.flatnonzero(targets[sequence])[-ending:] if objective.mode is not None else np.arange(end - 1 - ending, end - 1)
            found[place] = values[sequence, columns]
    return found


def batches(lengths: Sequence[int], *, packs: bool = True) -> list[list[list[int]]]:
    """Places of rows by sequence and batch: packed where that takes fewer tokens, else alone; the longest first."""
    order = sorted(range(len(lengths)), key=lambda place: -lengths[place])
    alone = [[place] for place in order]
    chunks = [alone[begin : begin + ROWS] for begin in range(0, len(alone), ROWS)]
    if not packs or not lengths:
        return chunks
    together = bins(lengths)
    plain = sum(len(chunk) * lengths[chunk[0][0]] for chunk in chunks)
    if len(together) * max(lengths) >= SAVES * plain:
        return chunks
    return [together[begin : begin + ROWS] for begin in range(0, len(together), ROWS)]


def bins(lengths: Sequence[int]) -> list[list[int]]:
    """Places of rows by sequence: the longest first, each into the first sequence that has room, none longer than the longest row."""
    found: list[list[int]] = []
    room: list[int] = []
    for place in sorted(range(len(lengths)), key=lambda place: -lengths[place]):
        into = next((number for number, left in enumerate(room) if left >= lengths[place]), None)
        if into is None:
            into = len(found)
            found.append([])
            room.append(max(lengths))
        found[into].append(place)
        room[into] -= lengths[place]
    return found


def laid_out(sequences: Sequence[Sequence[Sequence[int]]], pad: int) -> Sequences:
    """The rows of each of ``sequences``, one behind the other, and padding."""
    longest = max(sum(map(len, rows)) for rows in sequences)
    tokens, documents, positions = (np.full((len(sequences), longest), fill) for fill in (pad, -1, 0))
    places = []
    for number, rows in enumerate(sequences):
        begin = 0
        for document, row in enumerate(rows):
            part = slice(begin, begin + len(row))
            tokens[number, part], documents[number, part], positions[number, part] = row, document, np.arange(len(row))
            places.append((number, begin))
            begin += len(row)
    return Sequences(tokens, documents, positions, places)


def _values(model: Any, laid: Sequences, objective: Any, held_out: HeldOut) -> tuple[Array, Array]:
    """Nats of every column and whether it is a target, [sequences, columns]."""
    import torch

    from windtunnel.data.held_out import entered

    rows = {"tokens": laid.tokens, "documents": laid.documents, "positions": laid.positions}
    rows["sources"] = np.zeros(len(laid.tokens), np.int64)
    batch = objective.prepare(rows, held_out.facts, np.random.default_rng(0))
    with torch.no_grad(), entered(held_out.precision):
        loss = objective.loss(model, {key: torch.as_tensor(value).to(held_out.device) for key, value in batch.items()})
    shape = (len(laid.tokens), -1)
    return loss.values.view(shape).double().cpu().numpy(), loss.counts.view(shape).cpu().numpy()
