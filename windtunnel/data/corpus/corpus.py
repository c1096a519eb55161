"""A prepared corpus: a folder of parquet files by split and source, with the table of what became of every document."""

from __future__ import annotations

import base64
import difflib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from windtunnel.core.errors import SourceError, UserError, nearest
from windtunnel.data.corpus.fields import GROUP, ORIGIN, TEXT, conform, one_batch
from windtunnel.data.corpus.split import SPLITS, group_key
from windtunnel.slots.evaluation import GROUPED

if TYPE_CHECKING:
    import numpy as np
    import pyarrow

LIKE = 0.6  # similarity from which on a field is taken for one that should be called `text`
MANIFEST = "corpus.json"
FORMAT = 2  # raised when the folder's layout changes, or a rule that decides what is in every corpus
RULES = 2  # raised when a rule changes what is in some; the others are read once more and keep their fingerprint


class Corpus:
    """Documents split into train, validation and test, by source.

    Attributes:
        folder: where the files are.
        fingerprint: a hash of every document in order and of the table; the same content has the same fingerprint anywhere.
        sources: the names of the sources in the order of the recipe.
        table: rows ``{"source", "what", "documents", "bytes"}``: read, skipped, removed, and the documents of each split.
        curation: what it has cost to curate, in steps, tokens, flops, effective_flops and seconds: by the runs whose models the curators
            hold, and ``curators of FINGERPRINT`` for their own work. Empty where they spend nothing.
        examples: for each source and ``what``, up to three places where it occurred.
    """

    def __init__(self, folder: Path, manifest: dict[str, Any]) -> None:
        self.folder = folder
        self.fingerprint: str = manifest["fingerprint"]
        self.sources: tuple[str, ...] = tuple(manifest["sources"])
        self.table: list[dict[str, Any]] = manifest["table"]
        self.curation: dict[str, dict[str, float]] = manifest.get("curation", {})
        self.examples: dict[str, dict[str, list[str]]] = manifest["examples"]
        self._schemas: dict[str, str] = manifest["schemas"]
        self._files: dict[str, dict[str, dict[str, Any]]] = manifest["files"]
        self._victims: list[dict[str, Any]] = manifest.get("victims", [])

    @classmethod
    def open(cls, folder: Path | str) -> Corpus:
        """The corpus in ``folder``.

        Raises:
            UserError: where it is no prepared corpus, or a file is missing or has the wrong size (naming it).
        """
        folder = Path(folder)
        path = folder / MANIFEST
        try:
            manifest = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise UserError(f"{folder}: not a prepared corpus ({MANIFEST}: {error.strerror})") from error
        except ValueError as error:
            raise UserError(f"{path}: damaged ({error}); remove the folder and prepare the corpus again") from error
        if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
            raise UserError(f"{path}: written by another version of windtunnel; remove the folder and prepare the corpus again")
        for entries in manifest["files"].values():
            for entry in entries.values():
                file = folder / entry["file"]
                size = file.stat().st_size if file.is_file() else None
                if size != entry["size"]:
                    state = "is missing" if size is None else f"has {size} bytes instead of {entry['size']}"
                    raise UserError(f"{file}: {state}; remove {folder} and prepare the corpus again")
        return cls(folder, manifest)

    def count(self, split: str, source: str) -> int:
        """How many documents ``split`` holds of ``source``."""
        return self._entry(split, source)["documents"]

    def bytes(self, split: str, source: str) -> int:
        """How many bytes ``split`` holds of ``source``: of text in UTF-8, of all other fields where documents have no text."""
        return self._entry(split, source)["bytes"]

    def schema(self, source: str) -> pyarrow.Schema:
        """The fields that documents of ``source`` have, with their Arrow types: the same in every split.

        ``origin`` (text, where the document came from) is always there; ``text`` and ``group`` where the source has them. Text is
        ``large_string``, bytes are ``large_binary``, lists are ``large_list`` or of a fixed size; a value may be null.

        Raises:
            UserError: for an unknown source.
        """
        import pyarrow

        self._entry("train", source)
        return pyarrow.ipc.read_schema(pyarrow.BufferReader(base64.b64decode(self._schemas[source])))

    def rows(self, split: str, source: str, columns: Sequence[str] | None = None) -> Iterator[pyarrow.RecordBatch]:
        """The documents of ``split`` of ``source`` in their fixed order, a row each, in record batches of some 16 MiB or one document.

        Every batch has the fields of :meth:`schema`, or ``columns`` of them in the order named. The n-th row is the n-th document of
        :meth:`documents`. Use ``batch.column("values")`` for a field of all rows, ``batch.to_pylist()`` for dictionaries.

        Raises:
            UserError: for an unknown split, source or column, or a damaged file (every page has a checksum), naming it.
        """
        import pyarrow
        from pyarrow import parquet

        path = self.folder / self._entry(split, source)["file"]
        schema = self.schema(source)
        for name in columns or ():
            if name not in schema.names:
                raise UserError(f"the documents of source {source!r} have no field {name!r}; {nearest(name, schema.names)}")
        if columns is not None:
            schema = pyarrow.schema([schema.field(name) for name in columns])
        try:
            with parquet.ParquetFile(path, page_checksum_verification=True) as file:
                there = [name for name in schema.names if name in file.schema_arrow.names]  # a curator may have added others to the rest
                for group in range(file.num_row_groups):
                    rows = conform(one_batch(file.read_row_group(group, columns=there or [ORIGIN])), schema)
                    rows.validate(full=True)
                    yield rows
        except (OSError, pyarrow.ArrowException) as error:
            raise UserError(f"{path}: damaged ({error}); remove {self.folder} and prepare the corpus again") from error

    def victims(self) -> Iterator[dict[str, Any]]:
        """Every document that a curator removed: ``curator``, ``source``, ``origin``, ``reason``, ``detail``, ``bytes``, ``beginning``."""
        from pyarrow import parquet

        for entry in self._victims:
            with parquet.ParquetFile(self.folder / entry["file"]) as file:
                for batch in file.iter_batches():
                    yield from batch.to_pylist()

    def groups(self, split: str, source: str) -> np.ndarray | None:
        """A number from :data:`GROUPED` on for the group of each document of ``split`` of ``source``, else -1: int64 [documents].

        The same name has the same number in every source. None where no document of the source has a group.
        """
        import numpy as np

        if GROUP not in self.schema(source).names:
            return None
        names = [name for batch in self.rows(split, source, [GROUP]) for name in batch.column(0).to_pylist()]
        numbers = [-1 if name is None else GROUPED | int.from_bytes(group_key(name)[:8], "little") >> 2 for name in names]
        return np.array(numbers, dtype=np.int64)

    def documents(self, split: str, source: str) -> Iterator[list[str]]:
        """The texts of ``split`` of ``source`` in their fixed order, in batches of some 16 MiB or one document.

        Raises:
            UserError: for an unknown split or source, or a damaged file (every page has a checksum), naming it; and where documents have
                no text, naming their fields.
        """
        self._entry(split, source)
        fields = [name for name in self.schema(source).names if name not in (ORIGIN, GROUP)]
        if TEXT not in fields:
            raise without_text(source, fields)
        for batch in self.rows(split, source, [TEXT]):
            yield [text or "" for text in batch.column(0).to_pylist()]

    def _entry(self, split: str, source: str) -> dict[str, Any]:
        if split not in self._files:
            raise UserError(f"no split is called {split!r}; {nearest(split, SPLITS)}")
        if source not in self._files[split]:
            raise UserError(f"the corpus has no source {source!r}; {nearest(source, self.sources)}")
        return self._files[split][source]


def without_text(source: str, fields: Sequence[str]) -> SourceError:
    """The error for documents of ``source`` that have these ``fields`` and no text, where a text is needed."""
    how = "set `field` of the source, as in {files: {path: FILE, field: NAME}}"
    hint = nearest(TEXT, fields)
    if not difflib.get_close_matches(TEXT, fields, n=1, cutoff=LIKE):  # `date` is no misspelling of it
        hint = hint[max(0, hint.find("known:")) :]
    return SourceError(f"the documents of source {source!r} have no text; {how}; {hint}", source, more=False)
