"""A look at the beginning of a source: what its documents are, and about how many there are, without reading all of it."""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import PrivateAttr

from windtunnel.core.errors import UserError
from windtunnel.data.corpus.digest import sizes
from windtunnel.data.corpus.fields import GROUP, ORIGIN, TEXT, text_of
from windtunnel.data.corpus.frame import Document, StreamedSource, batches, documents_of
from windtunnel.data.corpus.split import fraction, split_keys
from windtunnel.data.corpus.tally import Tally
from windtunnel.slots import Source

if TYPE_CHECKING:
    import pyarrow

DOCUMENTS, BYTES = 100, 1 << 20  # both are reached, or the source is at its end, before its beginning is large enough
COUNTING = 2.0  # seconds that are spent on counting what comes after the beginning
WORDS = 20  # characters of a field in the mean from which it may be a text
EXAMPLE = 100  # characters of a document that are shown


@dataclass
class Glance:
    """The first documents of the source called ``name``. What was skipped on the way is in ``tally``."""

    name: str
    source: Source
    tally: Tally = field(init=False)
    first: list[pyarrow.RecordBatch] = field(default_factory=list)
    whole: bool = False  # whether these are all

    def __post_init__(self) -> None:
        self.tally = Tally(self.name)
        self._rest: Iterator[Document] = documents_of(self.source, self.tally)
        self._wanted = (DOCUMENTS, BYTES)
        self._whole_size: tuple[int, int, str] | None = None
        self._read()

    def more(self) -> None:
        """Read on until there are eight times as many documents and bytes."""
        self._wanted = (8 * self._wanted[0], 8 * self._wanted[1])
        self._read()

    def _read(self) -> None:
        documents, size = self._wanted

        def until_enough() -> Iterator[Document]:
            rows, held = self.rows, self.bytes
            for document in self._rest:
                yield document
                if isinstance(document, (tuple, dict)):
                    text = document[0] if isinstance(document, tuple) else document.get(TEXT)
                    rows, held = rows + 1, held + len(text or "")
                else:
                    rows, held = rows + document.num_rows, held + document.nbytes  # type: ignore[union-attr]
                if rows >= documents and held >= size:
                    return
            self.whole = True

        try:
            self.first += batches(until_enough())
        except UserError as error:
            raise type(error)(f"corpus source {self.name!r}: {error}") from error

    @property
    def rows(self) -> int:
        """How many documents were read."""
        return sum(batch.num_rows for batch in self.first)

    @property
    def bytes(self) -> int:
        """Bytes of these documents: of their text in UTF-8, where they have one."""
        return sum(int(sizes(batch).sum()) for batch in self.first)

    @property
    def example(self) -> str:
        """The beginning of the first document, on one line; of a folder of pages, of the first page."""
        from windtunnel.data.corpus.formats import BESIDE_PAGES

        beside = ""
        for batch in self.first:
            for text, origin in zip(text_of(batch), batch.column(ORIGIN).to_pylist(), strict=True):
                line = " ".join((text or "")[: 4 * EXAMPLE].split())
                line = line if len(line) <= EXAMPLE else f"{line[:EXAMPLE]}…"
                if line and not origin.endswith(BESIDE_PAGES):
                    return line
                beside = beside or line
            if TEXT not in batch.schema.names and batch.num_rows:
                return "no text; fields: " + ", ".join(self.fields)
        return beside

    @property
    def fields(self) -> list[str]:
        """What the documents that were read have, as far as the first of them say it."""
        return [name for name in (self.first[0].schema.names if self.first else ()) if name != ORIGIN]

    @property
    def has_text(self) -> bool:
        """Whether some of the documents that were read have a text."""
        return any(TEXT in batch.schema.names for batch in self.first)

    def wordiest(self) -> str | None:
        """Of documents without text, the field that holds most characters in the mean; None where none is of words."""
        import pyarrow.types

        held: dict[str, int] = {}
        for batch in () if self.has_text else self.first:
            for one in batch.schema:
                if one.name not in (ORIGIN, GROUP) and (pyarrow.types.is_string(one.type) or pyarrow.types.is_large_string(one.type)):
                    held[one.name] = held.get(one.name, 0) + sum(len(value or "") for value in batch.column(one.name).to_pylist())
        found = max(held, key=held.__getitem__, default=None)
        return found if found is not None and held[found] >= WORDS * self.rows else None

    def beginning(self) -> Source:
        """A source of what was read, in the place of the whole one."""
        found = Beginning.model_construct()
        found._documents, found._content, found._name = list(self.first), self.source.content_fields(), self.name
        return found

    def about(self) -> dict[str, Any]:
        """``documents`` and ``bytes`` of the whole source, ``estimated`` unless it was read to its end, ``example``, ``skipped`` and why.

        The whole is estimated by the files where there are any; else it is counted for a moment, after which ``estimated`` is "at least".
        """
        if self._whole_size is None or self.whole:
            self._whole_size = self._counted()
        documents, size, estimated = self._whole_size
        found = {"documents": documents, "bytes": size, "estimated": estimated, "example": self.example}
        return {**found, "skipped": [row["what"] for row in self.tally.rows()], "why": self.tally.summary()}

    def positions(self) -> list[float]:
        """Where the documents that were read, or their groups, stand when they are split (:func:`split_of`); copies once."""
        from windtunnel.data.corpus.reading import usable

        found: set[bytes] = set()
        for batch in self.first:
            found.update(split_keys(*usable(batch, self.source.content_fields(), None)))
        return sorted(map(fraction, found))

    def _one_a_file(self) -> bool:
        """Whether every document that was read is a file of its own."""
        origins = [origin for batch in self.first for origin in batch.column(ORIGIN).to_pylist()]
        return not any(re.search(r":\d+$", origin) for origin in origins)

    def _counted(self) -> tuple[int, int, str]:
        rows, size = self.rows, self.bytes
        if self.whole:
            return rows, size, ""
        if self.tally.stored is not None:
            whole = max(size, self.tally.stored)
            documents = round(whole * rows / max(1, size))
            if self.tally.files is not None and self._one_a_file():  # the first of many may be smaller than most
                documents = min(documents, self.tally.files)
            return max(rows, documents), whole, "about"
        until, counted, held = time.monotonic() + COUNTING, 0, 0
        anew = documents_of(self.source, Tally(self.name))  # more may be read of the rest
        for batch in batches(itertools.takewhile(lambda _: time.monotonic() < until, anew)):
            counted, held = counted + batch.num_rows, held + int(sizes(batch).sum())
        return max(rows, counted), max(size, held), "at least" if time.monotonic() >= until else ""


class Beginning(StreamedSource):
    """Documents that were read of another source."""

    _documents: list[pyarrow.RecordBatch] = PrivateAttr(default_factory=list)
    _content: tuple[str, ...] = PrivateAttr(default=())
    _name: str = PrivateAttr(default="")

    def documents(self, tally: Tally) -> Iterator[Document]:
        """Those that were read."""
        yield from self._documents

    def content_fields(self) -> tuple[str, ...]:
        """As the source has them."""
        return self._content

    def signature(self) -> str:
        """Where it is from, and how much was read."""
        return f"{self._name}: {sum(batch.num_rows for batch in self._documents)}"


def glances(corpus: Mapping[str, Source], known: dict[str, Glance] | None = None) -> dict[str, Glance]:
    """A look at each source of ``corpus``, by name; one that is ``known`` is not read again, and a new one becomes so.

    Raises:
        UserError: naming the source that cannot be read, as preparing it would.
    """
    known = {} if known is None else known
    for name, source in corpus.items():
        if name not in known or known[name].source != source:
            known[name] = Glance(name, source)
    return {name: known[name] for name in corpus}


def enlarge(looked_at: Sequence[Glance]) -> bool:
    """Read more of each; False where all were read to their end before."""
    short = [glance for glance in looked_at if not glance.whole]
    for glance in short:
        glance.more()
    return bool(short)
