"""Which fields of the records of a file its documents have."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from windtunnel.data.corpus.fields import GROUP, RESERVED, TEXT
from windtunnel.data.corpus.opened import Unreadable

if TYPE_CHECKING:
    import pyarrow

# The fields of one document with its place in the file (``:line``), or a batch of documents with the number of its first row.
Documents = Iterator[tuple[dict[str, Any], str] | tuple["pyarrow.RecordBatch", int]]
Note = Callable[..., bool]


class Columns:
    """Which fields of a record become fields of its document, and under which names.

    Attributes:
        text: the field that holds the text; None where documents have no text.
        keep: the other fields that are kept; None for all.
        group: the field that says which documents belong together.
        seen: the names of all fields met so far.
    """

    def __init__(self, text: str | None, keep: tuple[str, ...] | None = None, group: str | None = None) -> None:
        self.text = text
        self.keep = keep
        self.group = group
        self.seen: set[str] = set()
        self._kept: dict[tuple[str, ...], dict[str, str]] = {}

    def kept(self, names: Iterable[str]) -> dict[str, str]:
        """Those of ``names`` that are kept, each with its name in the document, the text first.

        A name that means something else in documents (``origin``, ``source``, ``group``, ``text``) gets an underscore at its end.
        """
        names = tuple(names)
        if names not in self._kept:
            self.seen.update(names)
            found = {self.text: TEXT} if self.text in names else {}
            for name in names:
                if name != self.text and (self.keep is None or name in self.keep) and not name == self.group == GROUP:
                    ours = f"{name}_" if name in RESERVED else name
                    while ours != name and ours in names:
                        ours += "_"
                    found[name] = ours
            if len(self._kept) > 1000:  # records that all differ
                self._kept.clear()
            self._kept[names] = found
        return self._kept[names]

    def once(self, names: list[str], note: Note) -> dict[str, str]:
        """As :meth:`kept`, for the columns of a table; those whose name occurs twice are left out and noted.

        Raises:
            Unreadable: where the text or the group is one of these: which of them is meant cannot be told.
        """
        twice = {name for name in names if names.count(name) > 1}
        for name in (self.text, self.group):
            if name in twice:
                raise Unreadable("two columns of one name", f"column {name!r} occurs twice, so which is meant cannot be told; rename one")
        kept = {their: ours for their, ours in self.kept(dict.fromkeys(names)).items() if their not in twice}
        for name in sorted(twice):
            note("left out: column whose name occurs twice", where=f"column {name!r}")
        return kept

    def renamed(self) -> list[tuple[str, str]]:
        """The fields met so far that are kept under another name."""
        return sorted((their, ours) for their, ours in self.kept(self.seen).items() if their not in (ours, self.text))
