"""A curator that keeps one of every group of documents that are nearly the same."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.data.corpus.fields import ORIGIN, TEXT, text_of
from windtunnel.data.corpus.judging import Judge, Reasons, replaced
from windtunnel.slots import CuratorContext
from windtunnel.slots.curator import ROW

if TYPE_CHECKING:
    import numpy as np
    import pyarrow


class NearDuplicates(Judge, name="near-duplicates"):
    """Keep the first of every group of documents that share most of their runs of words.

    Two documents are alike if the exact Jaccard similarity of their sets of runs of ``words`` words, in lower case and without signs, is
    at least ``similarity``. MinHash with bands only proposes the pairs (Lee et al. 2021, arXiv:2107.06499): of those 0.05 above the
    threshold it misses fewer than one in 200. Groups are transitive, so a removed document need not be alike to the one that stays.

    A document of fewer than ``words`` words is one run, so short documents are duplicates only where they are the same (datatrove 0.10
    keeps exact copies of them). Where numbers are a good part of two documents, their sets of numbers have to be as similar, so that
    exercise sheets that differ in every number stay (datatrove, which takes all numbers for one, drops them). Documents without text
    stay.

    With ``unit: paragraph`` the same is asked of paragraphs, the pieces of text between empty lines: those of at least ``shortest`` words
    that are alike an earlier one, in the same document or another, are taken out, and a document goes of which nothing is left.
    """

    fields = ("text",)
    trial = Trial({"similarity": 0.3})
    scans: ClassVar[bool] = True

    similarity: float = Field(0.7, gt=0, le=1, description="the Jaccard similarity from which on two documents are alike")
    words: int = Field(5, ge=1, description="words in a run")
    numbers: float = Field(0.1, ge=0, le=1, description="share of words that are numbers from which on numbers have to agree too")
    unit: Literal["document", "paragraph"] = Field("document", description="what is compared, and taken out")
    shortest: int = Field(20, ge=1, description="words that a paragraph needs to be taken out; headings and captions repeat rightly")

    def scan(self, documents: pyarrow.RecordBatch) -> dict[str, np.ndarray]:
        """The sets of runs and of numbers of every document or paragraph, and their bands."""
        import numpy as np

        from windtunnel.kits.text.alike import bands
        from windtunnel.kits.text.words import Ragged, sets, shingles, words_of

        texts, owners, paragraphs = self._units([text or "" for text in text_of(documents)])
        words = words_of(texts)
        found, count = shingles(texts, words, self.words), len(texts)
        sizes = np.diff(np.append(0, found.ends))
        there = np.flatnonzero(sizes)
        numbers = sets(words.hashes[words.number], words.document[words.number], count)
        total = np.bincount(words.document, minlength=count)
        share = np.bincount(words.document[words.number], minlength=count) / np.maximum(1, total)
        own = Ragged(found.values, found.ends[there])
        origins = [origin.encode() for origin in documents.column(ORIGIN).take(_taken(owners[there])).to_pylist()]
        with np.errstate(over="ignore"):
            whole = np.add.reduceat(found.values, np.append(0, own.ends[:-1])) if len(there) else np.zeros(0, np.uint64)
        number_sizes = np.diff(np.append(0, numbers.ends))[there]
        return {
            "row": documents.column(ROW).to_numpy()[owners[there]],
            "paragraph": paragraphs[there],
            "sizes": sizes[there],
            "whole": whole,
            "shingles": found.values,
            "numbers": numbers.values[np.repeat(np.isin(np.arange(count), there), np.diff(np.append(0, numbers.ends)))],
            "number_ends": np.cumsum(number_sizes),
            "share": share[there],
            "bands": bands(own, self.similarity) if len(there) else np.zeros((0, 1), np.uint64),
            "origin": np.frombuffer(b"".join(origins), np.uint8),
            "origin_ends": np.cumsum([len(origin) for origin in origins], dtype=np.int64),
        }

    def decide(self, scans: Sequence[Mapping[str, np.ndarray]], context: CuratorContext) -> dict[str, np.ndarray]:
        """The numbers of the documents that go, or of the paragraphs, with their similarity to what stays and where that came from."""
        import numpy as np

        from windtunnel.kits.text.alike import grouped, jaccard

        scans = [scan for scan in scans if len(scan["row"])]
        shelf = _Shelf(scans)
        if not scans:
            return {"row": np.zeros(0, np.int64), "paragraph": np.zeros(0, np.int64), "similarity": np.zeros(0), "origin": np.array([""])}
        sizes = np.concatenate([scan["sizes"] for scan in scans])
        key = np.concatenate([scan["whole"] for scan in scans]) ^ (sizes.astype(np.uint64) << np.uint64(40))
        _, first, same = np.unique(key, return_index=True, return_inverse=True)
        order = np.argsort(first)
        first, same = first[order], np.argsort(order)[same]  # every set once, by the first document that has it
        share = np.concatenate([scan["share"] for scan in scans])

        def alike(one: int, other: int) -> bool:
            a, b = int(first[one]), int(first[other])
            if jaccard(shelf.of("shingles", a), shelf.of("shingles", b)) < self.similarity:
                return False
            counted = min(share[a], share[b]) >= self.numbers
            return not counted or jaccard(shelf.of("numbers", a), shelf.of("numbers", b)) >= self.similarity

        count = max(scan["bands"].shape[1] for scan in scans)

        def keys(band: int) -> np.ndarray:
            return np.concatenate([scan["bands"][:, band] for scan in scans])[first]

        groups = grouped(keys, count, sizes[first], alike, self.similarity)
        stays = first[groups.firsts()[same]]
        gone = np.flatnonzero(stays != np.arange(len(key)))
        row, paragraph = (np.concatenate([scan[name] for scan in scans])[gone] for name in ("row", "paragraph"))
        pairs = [(int(one), int(stays[one])) for one in gone]
        similarity = [jaccard(shelf.of("shingles", one), shelf.of("shingles", other)) for one, other in pairs]
        origins = [bytes(shelf.of("origin", other)).decode() for _, other in pairs]
        return {"row": row, "paragraph": paragraph, "similarity": np.array(similarity), "origin": np.array([*origins, ""])}

    def judge(self, documents: pyarrow.RecordBatch, found: Mapping[str, np.ndarray]) -> tuple[pyarrow.RecordBatch, Reasons]:
        """As decided; the detail of a reason says what stays in the place of a document, and how alike they are."""
        import numpy as np

        rows = documents.column(ROW).to_numpy()
        reasons: list[str | None] = [None] * len(rows)
        texts = list(text_of(documents))
        for place in np.flatnonzero(np.isin(rows, found["row"])):
            which = int(np.searchsorted(found["row"], rows[place]))
            if self.unit == "paragraph":
                last = int(np.searchsorted(found["row"], rows[place], side="right"))
                gone = {int(one) for one in found["paragraph"][which:last]}
                left = [one for number, one in enumerate(_paragraphs(texts[place] or "")) if number not in gone]
                texts[place] = "\n\n".join(left)
                if any(one.strip() for one in left):
                    continue
            alike, origin = float(found["similarity"][which]), str(found["origin"][which])
            through = "" if alike >= self.similarity else ", through others"
            reasons[place] = f"near-duplicate: {alike:.2f} of {origin}{through}" if alike < 1 else f"duplicate: of {origin}"
        return (replaced(documents, {TEXT: texts}) if self.unit == "paragraph" else documents), reasons

    def _units(self, texts: Sequence[str]) -> tuple[list[str], np.ndarray, np.ndarray]:
        """What is compared of ``texts``, the text that each is of, and its number there; a short paragraph is compared with none."""
        import numpy as np

        from windtunnel.kits.text.words import words_of

        if self.unit == "document":
            return list(texts), np.arange(len(texts)), np.zeros(len(texts), np.int64)
        split = [_paragraphs(text) for text in texts]
        counts = [len(each) for each in split]
        units = [one for each in split for one in each]
        long = np.bincount(words_of(units).document, minlength=len(units)) >= self.shortest
        numbers = np.arange(len(units)) - np.repeat(np.cumsum(counts) - counts, counts)
        compared = [one if is_long else "" for one, is_long in zip(units, long, strict=True)]
        return compared, np.repeat(np.arange(len(texts)), counts), numbers


def _paragraphs(text: str) -> list[str]:
    return re.split(r"\n[^\S\n]*\n\s*", text)


class _Shelf:
    """The sets that scans found, one document at a time, from the disk."""

    def __init__(self, scans: Sequence[Mapping[str, np.ndarray]]) -> None:
        import numpy as np

        self.scans = scans
        self.begins = np.cumsum([0, *(len(scan["row"]) for scan in scans)])
        self.ends = [
            {
                "shingles": np.append(0, np.cumsum(scan["sizes"])),
                "numbers": np.append(0, scan["number_ends"]),
                "origin": np.append(0, scan["origin_ends"]),
            }
            for scan in scans
        ]

    def of(self, name: str, document: int) -> np.ndarray:
        """The array ``name`` of a document."""
        import numpy as np

        scan = int(np.searchsorted(self.begins, document, side="right")) - 1
        place = document - int(self.begins[scan])
        ends = self.ends[scan][name]
        return self.scans[scan][name][ends[place] : ends[place + 1]]


def _taken(places: np.ndarray) -> object:
    import pyarrow

    return pyarrow.array(places)
