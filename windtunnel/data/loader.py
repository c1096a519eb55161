"""Batches from a prepared stream, in an order that nothing but the recipe and the seed decides.

Where a run stands is one number for each source: how many of its tokens have gone by. So a checkpoint holds a few integers, going
on needs no replay, and a later phase with another context or packing goes on where the earlier one stopped.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from windtunnel.core import registry
from windtunnel.core.errors import PartError, UserError, nearest
from windtunnel.data.pieces import cut
from windtunnel.data.stream import Stream
from windtunnel.slots import Documents, Layout, Mixture, Packing, Progress

CHAPTER = 1 << 25  # tokens laid out at a time, so that memory does not grow with the corpus
ONE = 1 << 40  # shares are integers out of this: sums of integers are exact in any order, sums of floats are not

Rows = dict[str, np.ndarray]


class Loader:
    """Sequences of one split, by mixture and packing.

    Each source has its own order, drawn from (seed, split, source name, epoch); so adding a source does not reshuffle another, and
    the order depends neither on the batch size nor on workers or ranks. An epoch of a source is laid out as its packing says. Sources
    of more than 32 Mi tokens are laid out in chapters of about that size, documents being dealt to chapters at random each epoch.

    Args:
        stream: the prepared stream.
        split: train, validation or test.
        sources: those to draw from (None: all), in the order that settles ties.
        context: tokens a model sees; a sequence holds one more, because each token but the first is a label.
        sequences: how many sequences :meth:`rows` returns.
        mixture: how often each source is drawn (default: proportional).
        packing: how documents become sequences (default: concatenate).
        seed: decides the order.
        cursors: where each source goes on, from ``state()["cursors"]`` of an earlier phase (default: at the beginning).

    Raises:
        UserError: for an unknown split or source; :meth:`check` (which the first :meth:`rows` calls) for the rest.
    """

    def __init__(
        self,
        stream: Stream,
        *,
        split: str = "train",
        sources: Sequence[str] | None = None,
        context: int,
        sequences: int,
        mixture: Mixture | None = None,
        packing: Packing | None = None,
        seed: int = 0,
        cursors: Mapping[str, int] | None = None,
    ) -> None:
        self.stream, self.split, self.context, self.sequences, self.seed = stream, split, context, sequences, seed
        self.mixture: Mixture = mixture if mixture is not None else registry.make(Mixture, "proportional")
        self.packing: Packing = packing if packing is not None else registry.make(Packing, "concatenate")
        sizes = stream.sizes(split)
        self.sources = tuple(stream.sources if sources is None else sources)
        for source in self.sources:
            if source not in sizes:
                raise UserError(f"sources: no source is called {source!r}; {nearest(source, sizes)}")
        if len(set(self.sources)) != len(self.sources) or not self.sources:
            raise UserError(f"sources: expected different names, at least one; got {', '.join(self.sources) or 'none'}")
        self.sizes = {source: sizes[source] for source in self.sources}
        self._cursors = {source: int((cursors or {}).get(source, 0)) for source in self.sources}
        self._credits = dict.fromkeys(self.sources, 0)
        self._orders: dict[str, _Order] = {}
        self._layouts: dict[str, _Chapter] = {}
        self._checked = False
        self._length = context + stream.encoding.ahead  # units in a sequence

    def check(self) -> None:
        """Raise UserError for a source without tokens and for shares that do not fit, before anything is trained."""
        for source, size in self.sizes.items():
            if size <= self.stream.encoding.ahead:  # a lone separator has no token that could be a label
                what = [f"{row['what']}: {row['documents']}" for row in self.stream.table if row["source"] == source]
                raise UserError(
                    f"source {source!r} has no {self.split} {self.stream.encoding.unit}s ({'; '.join(what) or 'no document was read'}); "
                    f"{nearest(source, [name for name, units in self.sizes.items() if units > self.stream.encoding.ahead])}"
                )
        self._weights(Progress(0, 1, 0, 0, self.sequences, 0.0, 0.0, 0), {})
        self._checked = True

    def rows(self, progress: Progress, feedback: Mapping[str, float] | None = None) -> Rows:
        """The next sequences.

        Returns the fields of the stream (for text ``tokens``), each [sequences, length, *shape], where ``length`` is the context and what
        the encoding reads ahead (for text one); an entry along ``document`` stands at every place of its document. Besides, int64
        ``documents`` (number of the piece within its sequence, -1 for padding) and ``positions`` (counted from the beginning of the
        piece), each [sequences, length]; ``sources`` [sequences], as places in ``stream.sources``. A piece cut from the middle of a
        document also starts at position 0: it may lie further from the document's beginning than the context is long, where a model
        has no position to give it.
        """
        if not self._checked:
            self.check()
        weights = self._weights(progress, feedback or {})
        drawn = np.array([self._draw(weights) for _ in range(self.sequences)], dtype=np.int64)
        rows = self._empty(self.sequences)
        for place in np.unique(drawn).tolist():
            source = self.sources[place]
            slots = np.flatnonzero(drawn == place)
            rows["sources"][slots] = self.stream.sources.index(source)
            while len(slots):
                pieces = self._take(source, len(slots))
                self._fill(rows, source, slots[: len(pieces.first) - 1], pieces)
                slots = slots[len(pieces.first) - 1 :]
        if not self.packing.separate:
            rows["documents"] = np.minimum(rows["documents"], 0)
            rows["positions"][:] = np.arange(self._length)
        return rows

    def fixed(self, source: str, limit_tokens: int | None = None) -> Iterator[Rows]:
        """Sequences of a source, documents in stored order, for evaluation; nothing is consumed.

        Each token but the very first is a label exactly once, and documents never see each other. With ``limit_tokens`` at most so many
        labels, in whole sequences evenly spread over the source (the first documents alone need not be like the others), but at least
        one sequence. Arrays as in :meth:`rows`, the last batch with fewer sequences.
        """
        ends = np.cumsum(self.stream.lengths(self.split, source))
        every_begin = self._spread(ends, limit_tokens)
        for number in range(0, len(every_begin), self.sequences):
            begins = every_begin[number : number + self.sequences]
            pieces = Layout(*cut(ends, begins, np.minimum(begins + self._length, ends[-1])), self._length)
            rows = self._empty(len(begins))
            rows["sources"][:] = self.stream.sources.index(source)
            self._fill(rows, source, np.arange(len(begins)), pieces)
            yield rows

    def fixed_documents(self, source: str, limit_tokens: int | None = None) -> np.ndarray:
        """The document in which each sequence of :meth:`fixed` begins, as a place in the source: int64 [sequences]."""
        ends = np.cumsum(self.stream.lengths(self.split, source))
        return np.searchsorted(ends, self._spread(ends, limit_tokens), side="right")

    def _spread(self, ends: np.ndarray, limit_tokens: int | None) -> np.ndarray:
        """Where the sequences of :meth:`fixed` begin in a source whose documents end at ``ends``."""
        total, ahead = int(ends[-1]) if len(ends) else 0, self.stream.encoding.ahead
        every = -(-(total - ahead) // self.context) if total > ahead else 0
        count = every
        if limit_tokens is not None and every * self.context > limit_tokens:
            count = min(every, max(1, limit_tokens // self.context))
        return np.arange(count, dtype=np.int64) * every // max(1, count) * self.context

    def state(self) -> dict[str, Any]:
        """All that a checkpoint must hold: tokens gone by and the unpaid share of each source, as integers."""
        return {"cursors": dict(self._cursors), "credits": dict(self._credits)}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on where :meth:`state` was taken. Raises UserError if that was with other sources."""
        if set(state["cursors"]) != set(self.sources) or set(state["credits"]) != set(self.sources):
            raise UserError(f"the state is of sources {', '.join(state['cursors'])}; this loader has {', '.join(self.sources)}")
        self._cursors = {source: int(state["cursors"][source]) for source in self.sources}
        self._credits = {source: int(state["credits"][source]) for source in self.sources}

    def epochs(self) -> dict[str, float]:
        """How often each source has gone by, earlier phases included (1.0: every document once)."""
        return {source: self._cursors[source] / max(1, size) for source, size in self.sizes.items()}

    def read_until(self, source: str, units: int) -> np.ndarray:
        """Which documents of a source have been read when ``units`` of it have gone by since the beginning: bool [documents].

        At least so many: where a sequence is begun, all of it is counted.
        """
        read = np.zeros(len(self.stream.lengths(self.split, source)), dtype=bool)
        size = self.sizes[source]
        for epoch in range(-(-units // size) if size else 0):
            order = self._order(source, epoch)
            for number in range(len(order.tokens) - 1):
                begin, end = (epoch * size + int(place) for place in order.tokens[number : number + 2])
                if begin >= units or read.all():
                    return read
                chapter = self._chapter(source, epoch, number)
                layout, count = chapter.layout, len(chapter.layout.first) - 1
                upto = count if units >= end else min(count, -(-(units - begin) * count // (end - begin)))
                documents = layout.document[: layout.first[upto]]
                read[documents if chapter.documents is None else chapter.documents[documents]] = True
        return read

    # Which source -----------------------------------------------------------------------------------------------------------------

    def _weights(self, progress: Progress, feedback: Mapping[str, float]) -> list[int]:
        """The mixture as integers that add up to :data:`ONE`, in the order of the sources."""
        weights = self.mixture.weights(self.sizes, progress, feedback)
        for source, weight in weights.items():
            if source not in self.sizes:
                raise UserError(f"mixture {self.mixture.name}: no source is called {source!r}; {nearest(source, self.sizes)}")
            if not (weight >= 0 and math.isfinite(weight)):
                raise UserError(f"mixture {self.mixture.name}: the share of source {source!r} is {weight}; it must not be negative")
        total = sum(weights.values())
        if not (total > 0 and math.isfinite(total)):
            raise UserError(f"mixture {self.mixture.name}: the shares add up to {total}; they must add up to more than zero")
        shares = [int(weights.get(source, 0.0) / total * ONE) for source in self.sources]
        shares[shares.index(max(shares))] += ONE - sum(shares)
        return shares

    def _draw(self, weights: list[int]) -> int:
        """The place of the source that the next sequence comes from.

        Each source earns its share a sequence and pays one when it is drawn. Among those with something to pay with, the one that
        would soonest be a whole sequence behind is drawn. This is the quota method (Balinski and Young 1975): with fixed shares every
        count stays within one sequence of its share at every moment, which drawing the most indebted source does not guarantee.
        """
        credits = [self._credits[source] + weight for source, weight in zip(self.sources, weights, strict=True)]
        able = [place for place, weight in enumerate(weights) if weight and credits[place] > 0]
        if able:
            chosen = able[0]
            for place in able[1:]:  # (ONE - credit) / weight is the time left; compared without division to stay exact
                if (ONE - credits[place]) * weights[chosen] < (ONE - credits[chosen]) * weights[place]:
                    chosen = place
        else:  # only after a mixture has dropped a source that was still owed
            chosen = max((place for place, weight in enumerate(weights) if weight), key=lambda place: credits[place])
        credits[chosen] -= ONE
        self._credits = dict(zip(self.sources, credits, strict=True))
        return chosen

    # Which sequences ----------------------------------------------------------------------------------------------------------------

    def _take(self, source: str, most: int) -> Layout:
        """The next sequences of a source, at most ``most`` and within one chapter; moves the cursor past them.

        Within a chapter of n sequences and t tokens, sequence k begins at token floor(k t / n): so a cursor alone says where to go
        on, whatever the packing pads or drops, and epochs end exactly at multiples of the source's size.
        """
        size = self.sizes[source]
        k = count = 0
        while k == count:  # more than once only after a phase with shorter sequences: less than one of ours was left of the chapter
            epoch, offset = divmod(self._cursors[source], size)
            order = self._order(source, epoch)
            number = int(np.searchsorted(order.tokens, offset, side="right")) - 1
            chapter = self._chapter(source, epoch, number)
            begin, tokens = int(order.tokens[number]), int(order.tokens[number + 1] - order.tokens[number])
            layout = chapter.layout
            count = len(layout.first) - 1
            k = -(-(offset - begin) * count // tokens)
            self._cursors[source] = epoch * size + begin + k * tokens // count
        stop = min(k + most, count)
        self._cursors[source] = epoch * size + begin + stop * tokens // count
        low, high = int(layout.first[k]), int(layout.first[stop])
        return Layout(
            chapter.documents[layout.document[low:high]] if chapter.documents is not None else layout.document[low:high],
            layout.start[low:high],
            layout.stop[low:high],
            layout.first[k : stop + 1] - low,
            layout.length,
        )

    def _order(self, source: str, epoch: int) -> _Order:
        """How an epoch is dealt into chapters. Only the latest epoch is kept."""
        known = self._orders.get(source)
        if known is not None and known.epoch == epoch:
            return known
        size = self.sizes[source]
        if size <= CHAPTER:
            order = _Order(epoch, None, np.array([0, size]), np.array([0, len(self.stream.lengths(self.split, source))]))
        else:
            lengths = self.stream.lengths(self.split, source)
            documents = self._random(source, epoch, "chapters").permutation(len(lengths))
            ends = np.cumsum(lengths[documents])
            chapters = -(-size // CHAPTER)
            inner = np.searchsorted(ends, np.arange(1, chapters) * (size / chapters))
            bounds = np.unique(np.concatenate([[0], inner, [len(documents)]]))
            order = _Order(epoch, documents, np.concatenate([[0], ends[bounds[1:] - 1]]), bounds)
        self._orders[source] = order
        return order

    def _chapter(self, source: str, epoch: int, number: int) -> _Chapter:
        """One chapter laid out. Only the latest is kept."""
        known = self._layouts.get(source)
        if known is not None and (known.epoch, known.number) == (epoch, number):
            return known
        order = self._order(source, epoch)
        lengths = self.stream.lengths(self.split, source)
        documents = None if order.documents is None else order.documents[order.bounds[number] : order.bounds[number + 1]]
        chosen = lengths if documents is None else lengths[documents]

        def read(field: str, document: int) -> np.ndarray:
            place = document if documents is None else int(documents[document])
            return self.stream.read(self.split, source, place, field=field)

        layout = self.packing.pack(Documents(chosen, read), self._length, self._random(source, epoch, number))
        sizes = np.add.reduceat(layout.stop - layout.start, layout.first[:-1]) if len(layout.document) else np.zeros(0)
        if not len(sizes) or sizes.max() > self._length or np.diff(layout.first).min() < 1 or len(sizes) > chosen.sum():
            raise PartError(f"packing {self.packing.name} made no sequence of source {source!r}, an empty or too long one, or too many")
        self._layouts[source] = _Chapter(epoch, number, documents, layout)
        return self._layouts[source]

    def _random(self, *key: Any) -> np.random.Generator:
        text = json.dumps([self.seed, self.split, *key])
        return np.random.Generator(np.random.PCG64(int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "little")))

    # Which tokens -------------------------------------------------------------------------------------------------------------------

    def _empty(self, sequences: int) -> Rows:
        shape, stream = (sequences, self._length), self.stream
        kinds = {name: np.int64 if stream.counted(name) else kind.dtype for name, kind in stream.fields.items()}
        fields = {name: np.full((*shape, *kind.shape), kind.fill, dtype=kinds[name]) for name, kind in stream.fields.items()}
        return fields | {
            "documents": np.full(shape, -1, dtype=np.int64),
            "positions": np.zeros(shape, dtype=np.int64),
            "sources": np.zeros(sequences, dtype=np.int64),
        }

    def _fill(self, rows: Rows, source: str, slots: np.ndarray, pieces: Layout) -> None:
        """Write sequences into the rows ``slots``, all at once: a call a sequence would cost more than tokenising its text."""
        counts = np.diff(pieces.first)
        lengths = pieces.stop - pieces.start
        before = np.cumsum(lengths) - lengths
        column = before - np.repeat(before[pieces.first[:-1]], counts)
        position = np.arange(int(lengths.sum())) - np.repeat(before, lengths)
        target = np.repeat(np.repeat(slots, counts) * self._length + column, lengths) + position
        number = np.arange(len(lengths)) - np.repeat(pieces.first[:-1], counts)
        for name, kind in self.stream.fields.items():
            if kind.along == "document":
                one = np.zeros_like(pieces.start)
                entries = np.repeat(self.stream.gather(self.split, source, pieces.document, one, one + 1, name), lengths, axis=0)
            else:
                entries = self.stream.gather(self.split, source, pieces.document, pieces.start, pieces.stop, name)
            rows[name].reshape(-1, *kind.shape)[target] = entries
        rows["documents"].reshape(-1)[target] = np.repeat(number, lengths)
        rows["positions"].reshape(-1)[target] = position


class _Order(NamedTuple):
    """An epoch of a source in chapters: chapter i is ``documents[bounds[i]:bounds[i + 1]]`` (None: all), tokens ``tokens[i]`` on."""

    epoch: int
    documents: np.ndarray | None
    tokens: np.ndarray
    bounds: np.ndarray


class _Chapter(NamedTuple):
    """A chapter laid out; ``documents`` maps its document numbers to those of the source (None: the same)."""

    epoch: int
    number: int
    documents: np.ndarray | None
    layout: Layout
