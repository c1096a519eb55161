"""How files are read, and which fields of their records documents have."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from windtunnel.data.corpus.fields import GROUP, TAKEN, TEXT
from windtunnel.data.corpus.opened import Unreadable
from windtunnel.data.corpus.written import CHATS, Template

if TYPE_CHECKING:
    import pyarrow

# The fields of one document with its place in the file (``:line``), or a batch of documents with the number of its first row.
Documents = Iterator[tuple[dict[str, Any], str] | tuple["pyarrow.RecordBatch", int]]
Note = Callable[..., bool]


class Columns:
    """How a file is read: which fields of a record become fields of its document, and under which names.

    Attributes:
        text: the field that holds the text; None where documents have no text.
        keep: the other fields that are kept; None for all.
        group: the field that says which documents belong together.
        template: what writes the text from several fields, which then are fields of the document only where ``keep`` names them.
        extract: whether the text is taken out of documents such as HTML and PDF; else they are read as they are.
        encoding: the encoding of plain text and tables; None where it is recognised.
        seen: the names of all fields met so far.
    """

    def __init__(
        self,
        text: str | None,
        keep: tuple[str, ...] | None = None,
        group: str | None = None,
        *,
        template: Template | None = None,
        extract: bool = True,
        encoding: str | None = None,
    ) -> None:
        self.text = text
        self.keep = keep
        self.group = group
        self.template = template
        self.extract = extract
        self.encoding = encoding
        self.seen: set[str] = set()
        self._kept: dict[tuple[str | None, tuple[str, ...]], dict[str, str]] = {}

    @property
    def needed(self) -> tuple[str, ...]:
        """The fields that a text is made of."""
        return self.template.fields if self.template else () if self.text is None else (self.text,)

    def spare(self, names: Iterable[str]) -> list[str]:
        """The fields among ``names`` that may hold a chat, which is the text where there is none under the usual name."""
        names = set(names)
        return [name for name in CHATS if name in names] if self.text == TEXT and not self.template and TEXT not in names else []

    def kept(self, names: Iterable[str], text: str | None = None) -> dict[str, str]:
        """Those of ``names`` that are kept, each with its name in the document, the text first, which is the field ``text``.

        A name that means something else in documents (``origin``, ``source``, ``group``, ``text``, ``removed``, ``#``) gets an
        underscore at its end.
        """
        key = text, tuple(names)
        if key not in self._kept:
            names = key[1]
            self.seen.update(names)
            found = {text: TEXT} if text in names else {}
            apart = self.template.fields if self.template and self.keep is None else ()
            for name in names:
                if name != text and name not in apart and (self.keep is None or name in self.keep) and not name == self.group == GROUP:
                    ours = f"{name}_" if name in TAKEN else name
                    while ours != name and ours in names:
                        ours += "_"
                    found[name] = ours
            if len(self._kept) > 1000:  # records that all differ
                self._kept.clear()
            self._kept[key] = found
        return self._kept[key]

    def missing(self, names: Iterable[str]) -> str | None:
        """The first field that the text needs and that is not among ``names``."""
        names = set(names)
        return next((name for name in self.needed if name not in names), None)

    def once(self, names: list[str], note: Note, text: str | None) -> dict[str, str]:
        """As :meth:`kept`, for the columns of a table; those whose name occurs twice are left out and noted.

        Raises:
            Unreadable: where the text or the group is one of these: which of them is meant cannot be told.
        """
        twice = {name for name in names if names.count(name) > 1}
        for name in (text, self.group, *self.needed):
            if name in twice:
                raise Unreadable("two columns of one name", f"column {name!r} occurs twice, so which is meant cannot be told; rename one")
        kept = {their: ours for their, ours in self.kept(dict.fromkeys(names), text).items() if their not in twice}
        for name in sorted(twice):
            note("left out: column whose name occurs twice", where=f"column {name!r}")
        return kept

    def renamed(self) -> list[tuple[str, str]]:
        """The fields met so far that are kept under another name."""
        return sorted((their, ours) for their, ours in self.kept(self.seen, self.text).items() if their not in (ours, self.text))
