"""Parquet files of documents while they are written and when they are read again, a row group at a time."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from windtunnel.data.corpus import frame
from windtunnel.data.corpus.digest import Digest, sizes
from windtunnel.data.corpus.fields import ORIGIN, conform, one_batch, plain_schema, widened

if TYPE_CHECKING:
    import pyarrow

ROW_GROUP = 16 << 20  # bytes in a row group, which is the least that is read at once


class Fields:
    """The fields of a source's documents as far as they are known: the schema that holds all rows met so far.

    Attributes:
        schema: with every field met, each under a type that holds all its values.
        widened: what had to become text, in the words of :func:`windtunnel.data.corpus.fields.widened`.
    """

    def __init__(self, schema: pyarrow.Schema | None = None) -> None:
        self.schema = schema
        self.widened: list[str] = []

    def meet(self, schema: pyarrow.Schema) -> None:
        """Make room for the fields of ``schema``."""
        if self.schema is None:
            self.schema = schema.remove_metadata()
        elif not schema.equals(self.schema):
            self.schema, notes = widened(self.schema, schema)
            self.widened += [note for note in notes if note not in self.widened]


class _File:
    """A parquet file that is being written, with a running hash of its rows."""

    def __init__(self, path: Path, schema: pyarrow.Schema) -> None:
        from pyarrow import parquet

        self.path = path
        self.schema = schema
        self.digest = Digest()
        self._held: list[pyarrow.RecordBatch] = []
        self._bytes = 0
        self._writer = parquet.ParquetWriter(
            path,
            schema,
            compression="zstd",
            compression_level=1,
            use_dictionary=[ORIGIN],  # texts hardly repeat, and a dictionary of them costs their size in memory
            write_statistics=False,
            write_page_checksum=True,
        )

    def add(self, rows: pyarrow.RecordBatch) -> None:
        """Append rows, a row group at a time."""
        rows = conform(rows, self.schema)
        self.digest.update(rows)
        self._held.append(rows)
        self._bytes += rows.nbytes
        if self._bytes >= ROW_GROUP:
            self.flush()

    def flush(self) -> None:
        """Write what is held."""
        import pyarrow

        if self._held:
            table = pyarrow.Table.from_batches(self._held)
            self._held, self._bytes = [], 0
            self._writer.write_table(table)

    def close(self) -> None:
        """Write what is held and finish the file."""
        self.flush()
        self._writer.close()

    def abandon(self) -> None:
        """Close without caring whether the disk takes the rest."""
        with contextlib.suppress(Exception):
            self._writer.close()


class Shard:
    """A parquet file of documents that is being written.

    Its fields are known only when all documents are: while they come it is written in parts, a further one each time that a new field or
    type is met, and where there is more than one, they are joined at the end. So it takes no more memory than a row group.
    """

    def __init__(self, path: Path, fields: Fields) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.fields = fields
        self.documents = self.bytes = 0
        self._parts: list[_File] = []

    def add(self, rows: pyarrow.RecordBatch) -> None:
        """Append documents."""
        if not rows.num_rows:
            return
        self.fields.meet(rows.schema)
        self.documents += rows.num_rows
        self.bytes += int(sizes(rows).sum())
        if not self._parts or self._parts[-1].schema != self.fields.schema:
            if self._parts:
                self._parts[-1].close()
            self._parts.append(_File(self.path.with_name(f"{self.path.name}.{len(self._parts)}"), self.fields.schema))
        self._parts[-1].add(rows)

    def close(self) -> dict[str, Any]:
        """Finish the file; its manifest entry: ``file`` (relative to the folder two levels up), documents, bytes, size, hash.

        Bytes are those of text in UTF-8, of all other fields where a document has no text. The hash is of all rows in order.
        """
        for part in self._parts[-1:]:
            part.close()
        schema = self.fields.schema if self.fields.schema is not None else plain_schema()
        if len(self._parts) == 1 and self._parts[0].schema == schema:
            whole = self._parts[0]
        else:
            whole = _File(self.path.with_name(f"{self.path.name}.whole"), schema)
            try:
                for part in self._parts:
                    for rows in read_rows(part.path):
                        whole.add(rows)
                whole.close()
            finally:
                whole.abandon()
            for part in self._parts:
                part.path.unlink()
        os.replace(whole.path, self.path)
        self._parts = []
        return {
            "file": f"{self.path.parent.name}/{self.path.name}",
            "documents": self.documents,
            "bytes": self.bytes,
            "size": self.path.stat().st_size,
            "hash": whole.digest.hexdigest(),
        }

    def abandon(self) -> None:
        """Close without caring whether the disk takes the rest."""
        for part in self._parts:
            part.abandon()


@contextlib.contextmanager
def new_shards(
    folder: Path, keys: Iterable[Any], name: Callable[[Any], str], fields: Callable[[Any], Fields]
) -> Iterator[tuple[dict[Any, Shard], dict[Any, dict[str, Any]]]]:
    """Open shards by key, and a dictionary that holds their manifest entries after the block ended well.

    Shards that share one ``fields(key)`` end with the same schema.
    """
    opened: dict[Any, Shard] = {}
    entries: dict[Any, dict[str, Any]] = {}
    try:
        for key in keys:
            opened[key] = Shard(folder / name(key), fields(key))
        yield opened, entries
        for key, shard in opened.items():
            entries[key] = shard.close()
    finally:
        for shard in opened.values():
            shard.abandon()


def read_rows(path: Path) -> Iterator[pyarrow.RecordBatch]:
    """The documents of a shard, in batches as they are held in memory."""
    from pyarrow import parquet

    with parquet.ParquetFile(path, buffer_size=1 << 20, pre_buffer=False) as file:
        for group in range(file.num_row_groups):
            yield from frame.pieces(one_batch(file.read_row_group(group)))
