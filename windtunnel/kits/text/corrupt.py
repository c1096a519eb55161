"""Pure functions in numpy that turn rows of the stream into inputs and targets, for every objective that corrupts text.

A *piece* is a maximal run of columns of one row that belong to one document. Nothing ever crosses a piece: not a span, not the
prefix, not a target; sentinels are numbered from zero in every piece, so that a document looks the same whatever it is packed with.

Shapes: ``B`` rows, ``L`` = context + 1 columns of the stream, ``P`` pieces, ``W`` columns that the model reads.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from windtunnel.core.errors import UserError
from windtunnel.kits.text.vocabulary import Vocabulary


class Pieces(NamedTuple):
    """The pieces of rows, in reading order: the row, the first column and the length of each, int64 [P]."""

    row: np.ndarray
    start: np.ndarray
    length: np.ndarray


def pieces(documents: np.ndarray) -> Pieces:
    """The pieces of ``documents`` [B, L] (piece numbers, -1 where a column is not used)."""
    used = documents >= 0
    first, last = used.copy(), used.copy()
    first[:, 1:] &= documents[:, 1:] != documents[:, :-1]
    last[:, :-1] &= documents[:, 1:] != documents[:, :-1]
    row, start = np.nonzero(first)
    return Pieces(row, start, np.nonzero(last)[1] - start + 1)


def share_out(total: np.ndarray, sizes: np.ndarray, row: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Share ``total[b]`` whole things among the pieces of row b in proportion to ``sizes`` [P]: int64 [P].

    Systematic sampling: every piece gets its exact quota on average and the shares of a row add up to its total (to nothing in a
    row whose sizes are all zero). ``row`` [P] is sorted.
    """
    rows = len(total)
    whole = np.bincount(row, weights=sizes, minlength=rows)[row]
    running = np.cumsum(sizes)
    before = np.concatenate([[0], running])[np.searchsorted(row, row, side="left")]
    offset = random.random(rows)[row]
    scale = np.where(whole > 0, total[row] / np.maximum(whole, 1), 0.0)
    upper = np.floor((running - before) * scale + offset + 1e-9)
    lower = np.floor((running - before - sizes) * scale + offset + 1e-9)
    return (upper - lower).astype(np.int64)


def cut(total: np.ndarray, parts: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Lengths of ``parts[p]`` segments, each at least one long, that add up to ``total[p]``, every such division equally likely.

    ``parts`` is at most ``total``; the answer is int64 [P, largest parts], zero beyond a row's parts.
    """
    width, most = int(total.max(initial=0)), int(parts.max(initial=0))
    if not width or not most:
        return np.zeros((len(total), most), np.int64)
    inside = np.arange(width) < total[:, None]
    draw = np.where(inside, random.random((len(total), width)), 2.0)
    draw[:, 0] = np.where(parts > 0, -1.0, 2.0)  # the first segment begins at the beginning
    limit = np.take_along_axis(np.sort(draw, axis=1), np.maximum(parts - 1, 0)[:, None], axis=1)
    begins = inside & (draw <= limit) & (parts[:, None] > 0)
    segment = np.cumsum(begins, axis=1) - 1
    used = inside & (parts[:, None] > 0)
    flat = (np.arange(len(total))[:, None] * most + segment)[used]
    return np.bincount(flat, minlength=len(total) * most).reshape(len(total), most)


def noise_counts(length: np.ndarray, rate: np.ndarray, mean_span: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How many of ``length`` tokens are corrupted, and in how many spans (int64, the shape of ``length``).

    As T5: ``rate * length`` tokens, rounded, in that number divided by ``mean_span`` spans, rounded; at least one of each where
    two tokens are there, and never so many that two spans would touch.
    """
    noise = np.where(length > 1, np.clip(np.rint(length * rate), 1, np.maximum(length - 1, 1)), 0).astype(np.int64)
    spans = np.clip(np.rint(noise / mean_span), 1, np.maximum(np.minimum(noise, length - noise), 1)).astype(np.int64)
    return noise, np.where(noise > 0, spans, 0)


@lru_cache(maxsize=256)
def raw_length(width: int, rate: float, mean_span: float) -> tuple[int, int, int]:
    """The most tokens of text whose corrupted form fills ``width`` input columns, how many are corrupted, and in how many spans.

    The corrupted form holds a mode token's column, the text, each sentinel twice and the closing sentinel; its last token is only
    predicted, so it may be one longer than ``width``. The mode token's column is kept free where there is none, so that a
    corruption is the same with and without it.
    """
    for length in range(width, 1, -1):
        noise, spans = (int(count) for count in noise_counts(np.array(length), np.array(rate), np.array(mean_span)))
        if length + 2 * spans + 2 <= width + 1:
            return length, noise, spans
    raise UserError(f"context {width} is too short to corrupt spans of mean length {mean_span:g} at rate {rate:g}")


def need_sentinels(spans: int, vocabulary: Vocabulary, context: int) -> None:
    """Raise UserError where the vocabulary has fewer than ``spans`` + 1 sentinels (one closes the target)."""
    if len(vocabulary.spans) <= spans:
        raise UserError(
            f"span corruption of a context of {context} tokens needs {spans + 1} sentinels and the tokenizer has {len(vocabulary.spans)}: "
            f"set tokenizer.sentinels to at least {spans + 1}, or a longer mean span, a lower rate or a shorter context"
        )


def window(documents: np.ndarray, length: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """``documents`` [B, L] with -1 outside ``length[b]`` consecutive used columns, placed at random.

    An objective that reads fewer tokens than a row holds reads a random stretch, so that no token is left out in every epoch.
    """
    used = (documents >= 0).sum(axis=1)
    offset = np.floor(random.random(len(documents)) * (np.maximum(used - length, 0) + 1)).astype(np.int64)
    column = np.arange(documents.shape[1])
    return np.where((column >= offset[:, None]) & (column < (offset + length)[:, None]), documents, -1)


def span_noise(documents: np.ndarray, rate: np.ndarray, mean_span: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Which tokens are corrupted, bool [B, L]; ``rate`` and ``mean_span`` are float [B].

    The random segmentation of Raffel et al. 2019 (arXiv:1910.10683): corrupted and other tokens are each cut into segments at
    random and laid alternately. The counts of :func:`noise_counts` hold for a whole row and are shared out over its pieces; a piece
    too short for its share takes less. Two differences: a piece's first token (the separator, where a document begins) is never
    corrupted, and a piece need not end in a span, as T5's sequences always do.
    """
    found = pieces(documents)
    mask = np.zeros(documents.shape, bool)
    if not len(found.row):
        return mask
    noise, spans = noise_counts((documents >= 0).sum(axis=1), rate, mean_span)
    piece_spans = share_out(spans, found.length - 1, found.row, random)
    piece_noise = piece_spans + share_out(noise - spans, piece_spans, found.row, random)
    piece_noise = np.minimum(piece_noise, found.length - 1)
    piece_spans = np.minimum(piece_spans, np.minimum(piece_noise, found.length - piece_noise))
    piece_noise = np.where(piece_spans > 0, piece_noise, 0)
    corrupted = cut(piece_noise, piece_spans, random)
    # One token more than there is and one segment more than there are spans: taken off again, the last segment may be empty.
    clean = cut(found.length - piece_noise + 1, piece_spans + 1, random)[:, : corrupted.shape[1]]
    begins = np.cumsum(clean, axis=1) + np.cumsum(corrupted, axis=1) - corrupted
    piece, span = np.nonzero(corrupted)
    first = found.start[piece] + begins[piece, span]
    edges = np.zeros((documents.shape[0], documents.shape[1] + 1), np.int64)
    np.add.at(edges, (found.row[piece], first), 1)
    np.add.at(edges, (found.row[piece], first + corrupted[piece, span]), -1)
    mask[:] = np.cumsum(edges, axis=1)[:, :-1] > 0
    return mask


def suffix_noise(documents: np.ndarray, lowest: float, highest: float, least: int, random: np.random.Generator) -> np.ndarray:
    """Which tokens come after the pivot, bool [B, L]. One pivot a piece, at a uniform share between ``lowest`` and ``highest``.

    At least the first token is before the pivot and at least the last after it; a piece of fewer than ``least`` tokens has only its
    first token before the pivot, which leaves it causal.
    """
    found = pieces(documents)
    share = lowest + (highest - lowest) * random.random(len(found.row))
    pivot = np.minimum(1 + np.floor(share * (found.length - 1)), np.maximum(found.length - 1, 1)).astype(np.int64)
    pivot = np.where(found.length < least, 1, pivot)
    edges = np.zeros((documents.shape[0], documents.shape[1] + 1), np.int64)
    np.add.at(edges, (found.row, found.start + pivot), 1)
    np.add.at(edges, (found.row, found.start + found.length), -1)
    return np.cumsum(edges, axis=1)[:, :-1] > 0


def arrange(
    tokens: np.ndarray,
    documents: np.ndarray,
    noise: np.ndarray,
    *,
    sentinels: np.ndarray,
    leads: np.ndarray,
    width: int,
    vocabulary: Vocabulary,
    reserve: bool = False,
    slots: int | None = None,
    inputs: int | None = None,
    targets: int | None = None,
) -> dict[str, np.ndarray]:
    """Lay every piece out as mode token, input, target, one after the other, in rows of ``width`` columns.

    With sentinels, each span of ``noise`` is one sentinel in the input; the target is each sentinel followed by its span, then a
    closing sentinel. Without, the input is what comes before the noise and the target the noise itself, and where the document
    ends in the row the separator is predicted as well. The first target is predicted at the last token of the input.

    An encoder-decoder reads the same columns: ``encoder_columns`` are those of the inputs and ``decoder_columns`` those where
    something is predicted, so both architectures see identical corruptions. Text that does not fit is left out at the row's end.

    Args:
        tokens: [B, L].
        documents: [B, L], -1 where a column is left out.
        noise: bool [B, L], the tokens to predict.
        sentinels: bool [B], whether the row is laid out with sentinels.
        leads: int [B], the mode token that comes first in every piece, -1 for none. It has position 0, as the token after it.
        width: W.
        vocabulary: whose sentinels, separator and padding are used.
        reserve: count a mode token's column for every piece even where there is none, so that text and targets are the same with
            and without mode tokens.
        slots: only the first so many pieces of a row get a mode token (default: all).
        inputs: most input tokens of a row (default W).
        targets: most target tokens of a row (default W).

    Returns:
        ``tokens``, ``documents``, ``positions``, ``labels`` int64 [B, W], ``prefix`` bool [B, W] (mode token and input),
        ``encoder_columns`` int64 [B, inputs] and ``decoder_columns`` int64 [B, targets] (-1 for padding).
    """
    rows, length = tokens.shape
    used = documents >= 0
    begin, span = used.copy(), used & noise
    begin[:, 1:] &= documents[:, 1:] != documents[:, :-1]
    span[:, 1:] &= ~(noise[:, :-1] & (documents[:, 1:] == documents[:, :-1]))
    marked = span & sentinels[:, None]
    number = _within_piece(marked, begin)
    closing = marked & (number == 1)
    lead = begin & (leads >= 0)[:, None]
    if slots is not None:
        lead &= np.cumsum(begin, axis=1) <= slots
    input_cost = (used & ~noise).astype(np.int64) + marked + (begin if reserve else lead)
    target_cost = (used & noise).astype(np.int64) + marked + closing
    fits = np.cumsum(input_cost + target_cost, axis=1) <= width + 1
    fits &= np.cumsum(input_cost, axis=1) <= (inputs or width + 1)
    # Without sentinels the separator after the document's end is one more target.
    fits &= np.cumsum(target_cost + (begin & ~sentinels[:, None]), axis=1) <= (targets or width + 1)
    used &= fits

    piece = np.cumsum(begin.ravel()).reshape(rows, length) - 1
    column = np.broadcast_to(np.arange(length), (rows, length))
    sentinel_of = np.asarray(vocabulary.spans or (0,), np.int64)
    last_number = np.zeros(int(piece.max(initial=0)) + 1, np.int64)
    np.maximum.at(last_number, piece[used], number[used])
    lead_at, marked_at = lead & used, marked & used
    groups = [  # (where, part of the piece, 0 before a token or 1 the token itself, value)
        (lead_at, 0, 0, np.broadcast_to(leads[:, None], tokens.shape)),
        (used & ~noise, 1, 1, tokens),
        (marked_at, 1, 0, sentinel_of[np.maximum(number - 1, 0)]),
        (marked_at, 2, 0, sentinel_of[np.maximum(number - 1, 0)]),
        (used & noise, 2, 1, tokens),
        (closing & used, 3, 0, sentinel_of[last_number[np.maximum(piece, 0)]]),
    ]
    order = np.argsort(np.concatenate([((piece * 4 + part) * length + column)[at] * 2 + sub for at, part, sub, _ in groups]), kind="stable")
    where = np.concatenate([np.flatnonzero(at) for at, _, _, _ in groups])[order]
    part = np.concatenate([np.full(np.count_nonzero(at), part) for at, part, _, _ in groups])[order]
    value = np.concatenate([value[at] for at, _, _, value in groups])[order].astype(np.int64)
    row, item_piece = where // length, piece.ravel()[where]
    place = np.arange(len(where)) - np.searchsorted(row, row, side="left")
    first = np.searchsorted(item_piece, item_piece, side="left")
    position = np.arange(len(where)) - first
    position = np.maximum(position - (part[first] == 0), 0)

    def lay(values: np.ndarray, empty: int, kind: type = np.int64) -> np.ndarray:
        """``values`` of the items as rows of ``width`` + 1 columns."""
        grid: np.ndarray = np.full((rows, width + 1), empty, kind)
        grid[row, place] = values
        return grid

    full = {"tokens": lay(value, vocabulary.pad), "documents": lay(documents.ravel()[where], -1), "positions": lay(position, 0)}
    kind = lay(part, -1)
    same = full["documents"][:, 1:] == full["documents"][:, :-1]
    labels = np.where(same & (kind[:, 1:] >= 2), full["tokens"][:, 1:], -100)
    follows = np.zeros((rows, length), bool)
    follows[:, :-1] = (tokens[:, 1:] == vocabulary.document) & begin[:, 1:]
    ends = lay(follows.ravel()[where] & (part > 0) & ~sentinels[row], 0, np.bool_)[:, :-1]
    labels = np.where(ends & ~same, vocabulary.document, labels)
    prefix = (kind[:, :-1] >= 0) & (kind[:, :-1] <= 1)
    return {
        **{key: values[:, :-1].copy() for key, values in full.items()},
        "prefix": prefix,
        "labels": labels,
        "encoder_columns": columns_of(prefix, inputs or width),
        "decoder_columns": columns_of(labels != -100, targets or width),
    }


def columns_of(mask: np.ndarray, width: int) -> np.ndarray:
    """The columns where ``mask`` [B, W] holds, in order, padded with -1: int64 [B, width]."""
    order = np.argsort(~mask, axis=1, kind="stable")[:, :width]
    found = np.where(np.take_along_axis(mask, order, axis=1), order, -1)
    return np.pad(found, ((0, 0), (0, width - found.shape[1])), constant_values=-1)


def _within_piece(mask: np.ndarray, begin: np.ndarray) -> np.ndarray:
    """The running count of ``mask`` [B, L] that starts anew where ``begin`` [B, L] holds."""
    flat = np.cumsum(mask.ravel())
    before = np.where(begin.ravel(), flat - mask.ravel(), 0)
    return (flat - np.maximum.accumulate(before)).reshape(mask.shape)
