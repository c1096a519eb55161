"""A curator that takes out passages which stand in an earlier document, or earlier in the same one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.data.corpus.fields import TEXT, text_of
from windtunnel.data.corpus.judging import Judge, Reasons, by_share, replaced
from windtunnel.slots import CuratorContext
from windtunnel.slots.curator import ROW

if TYPE_CHECKING:
    import numpy as np
    import pyarrow

    from windtunnel.kits.text.words import WordHashes

PIECE = 1 << 24  # hashes that are sorted together: some 400 MB of memory


class RepeatedPassages(Judge, name="repeated-passages"):
    """Take out every passage of at least ``words`` words that stood before, word for word, wherever it begins.

    Lee et al. 2021, "Deduplicating training data makes language models better", arXiv:2107.06499 (ExactSubstr): a passage is a run of 50
    tokens or more, found there with a suffix array over tokens of a vocabulary. Here it is a run of words in lower case and without
    signs, found by a hash of 64 bits of every run of ``words`` words, so that passages which differ in signs or spaces alone count as
    the same. The first passage stays, whether it is in the same document or in another; a document of which nothing is left goes. What
    repeats within itself is cut down to its first ``words`` words or more. Eight bytes for each word lie on the disk until the curator
    is done, and sixteen for each run that repeats are held in memory.
    """

    fields = ("text",)
    trial = Trial({"words": 4})
    scans: ClassVar[bool] = True

    words: int = Field(50, ge=2, description="the fewest words that make a passage")

    def scan(self, documents: pyarrow.RecordBatch) -> dict[str, np.ndarray]:
        """The hash of each run of ``words`` words, and how many of them each document has."""
        import numpy as np

        from windtunnel.kits.text.words import runs, words_of

        texts = [text or "" for text in text_of(documents)]
        words = words_of(texts)
        hashes, first = runs(words, self.words)
        return {
            "runs": hashes,
            "counts": np.bincount(words.document[first], minlength=len(texts)),
            "row": documents.column(ROW).to_numpy(),
        }

    def decide(self, scans: Sequence[Mapping[str, np.ndarray]], context: CuratorContext) -> dict[str, np.ndarray]:
        """The runs that occur more than once, sorted, and where each stands first, as :func:`_places` has it."""
        import numpy as np

        repeated = [np.zeros(0, np.uint64)]
        places = [np.zeros(0, np.uint64)]
        for found in by_share(scans, "runs", PIECE):
            hashes = np.concatenate([scan["runs"][which] for scan, which in zip(scans, found, strict=True)] or repeated)
            where = np.concatenate(
                [_places(scan["row"], scan["counts"])[which] for scan, which in zip(scans, found, strict=True)] or places
            )
            order = np.argsort(hashes, kind="stable")
            hashes, where = hashes[order], where[order]
            same = hashes[1:] == hashes[:-1]
            first = np.append(same, False) & ~np.append(False, same)
            repeated.append(hashes[first])
            places.append(where[first])
        known, place = np.concatenate(repeated), np.concatenate(places)
        order = np.argsort(known)
        return {"runs": known[order], "first": place[order]}

    def judge(self, documents: pyarrow.RecordBatch, found: Mapping[str, np.ndarray]) -> tuple[pyarrow.RecordBatch, Reasons]:
        """The documents without what stood before; a document of nothing else goes."""
        from windtunnel.kits.text.words import words_of

        texts = text_of(documents)
        new: list[str | None] = list(texts)
        reasons: list[str | None] = [None] * len(new)
        words = words_of([text or "" for text in texts])
        for place, covered, begins in self._covered(words, documents.column(ROW).to_numpy(), found):
            text = texts[place]
            assert text is not None
            if covered.all():
                reasons[place] = f"repeated: all of its {len(covered)} words stand in documents before it"
            else:
                new[place] = _without(text, covered, begins)
        return replaced(documents, {TEXT: new}), reasons

    def _covered(
        self, words: WordHashes, rows: np.ndarray, found: Mapping[str, np.ndarray]
    ) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """Of each text that repeats something: its number, which of its words do, and where its words begin."""
        import numpy as np

        from windtunnel.kits.text.words import runs

        hashes, first = runs(words, self.words)
        if not len(hashes) or not len(found["runs"]):
            return
        which = np.minimum(np.searchsorted(found["runs"], hashes), len(found["runs"]) - 1)
        here = _places(rows, np.bincount(words.document[first], minlength=len(rows)))
        # A run that overlaps its own first is not taken for a copy: of a word said a hundred times, so many make a passage and stay.
        repeats = (found["runs"][which] == hashes) & (here >= found["first"][which] + np.uint64(self.words))
        change = np.zeros(len(words.hashes) + 1, np.int64)
        np.add.at(change, first[repeats], 1)
        np.add.at(change, first[repeats] + self.words, -1)
        covered = np.cumsum(change)[:-1] > 0
        ends = np.cumsum(np.bincount(words.document, minlength=len(rows)))
        for number in np.unique(words.document[covered]).tolist():
            own = slice(ends[number - 1] if number else 0, ends[number])
            yield number, covered[own], words.begin[own]


def _places(rows: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Where each run begins, uint64: the number of its document in the upper half, that of its first word in the lower."""
    import numpy as np

    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return (np.repeat(rows, counts).astype(np.uint64) << np.uint64(32)) + within.astype(np.uint64)


def _without(text: str, covered: np.ndarray, begins: np.ndarray) -> str:
    """``text`` without the ``covered`` words; what separates a word from the next one goes with it."""
    import numpy as np

    change = begins[np.flatnonzero(np.diff(np.append(False, covered)))]
    if len(text.lower()) != len(text):  # a letter such as the Turkish dotted I is two in lower case, where words are counted
        change = np.searchsorted(np.cumsum([len(character.lower()) for character in text]), change, side="right")
    bounds = [0, *change.tolist(), len(text)]
    return "".join(text[begin:end] for begin, end in zip(bounds[::2], bounds[1::2], strict=False)).rstrip()
