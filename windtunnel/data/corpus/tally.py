"""What was read, skipped and removed, and why: the counts behind the corpus table."""

from __future__ import annotations

import threading
from typing import Any

SHOWN = ("curator ", "decoded from ")  # counts whose examples say more than how many there are
REMOVED_BY_CURATOR = "removed: curator "  # what counts of removed training documents begin with
EXAMPLES = 3  # places remembered for each count, so that the user can look at one without a list of a million files


class Tally:
    """Counts of one source, in the order in which they first occurred. Safe to use from several threads.

    ``stored`` is about how many bytes of text the source has, and ``files`` how many files, where it said so when reading began and none
    of them is an archive.
    """

    def __init__(self, source: str) -> None:
        self.source = source
        self.stored: int | None = None
        self.files: int | None = None
        self._counts: dict[str, list[int]] = {}
        self.examples: dict[str, list[str]] = {}
        self._lock = threading.Lock()

    def count(self, what: str, documents: int = 1, size: int = 0, where: str = "") -> None:
        """Add ``documents`` (files, where a whole file was skipped) of ``size`` bytes in all to ``what``, with ``where`` as an example."""
        with self._lock:
            entry = self._counts.setdefault(what, [0, 0])
            entry[0] += documents
            entry[1] += size
            examples = self.examples.setdefault(what, [])
            if where and len(examples) < EXAMPLES:
                examples.append(where)

    def documents(self, what: str) -> int:
        """How many documents were counted as ``what``."""
        return self._counts.get(what, [0, 0])[0]

    def rows(self) -> list[dict[str, Any]]:
        """Table rows: ``source``, ``what``, ``documents``, ``bytes`` (UTF-8 of the text, or of the file where a file was skipped).

        What curators removed, and what was decoded from another encoding than UTF-8, comes with ``examples``.
        """
        return [
            {"source": self.source, "what": what, "documents": n, "bytes": size}
            | ({"examples": self.examples[what]} if any(one in what for one in SHOWN) and self.examples[what] else {})
            for what, (n, size) in self._counts.items()
        ]

    def summary(self, beginning: str = "") -> str:
        """The counts whose name begins with ``beginning`` as one phrase, each with an example of where."""
        parts = []
        for what, (documents, _) in self._counts.items():
            if what.startswith(beginning):
                example = f" (e.g. {self.examples[what][0]})" if self.examples[what] else ""
                parts.append(f"{what}: {documents:,}{example}")
        return "; ".join(parts)
