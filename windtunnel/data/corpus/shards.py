"""Parquet files of documents while they are written and when they are read again, a row group at a time."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from windtunnel.data.corpus.frame import grouped, schema

ROW_GROUP = 16 << 20  # characters of text in a row group, which is the least that is read at once


class Shard:
    """A parquet file of documents that is being written, with a running hash of them."""

    def __init__(self, path: Path) -> None:
        from pyarrow import parquet

        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.documents = self.bytes = self._held = 0
        self._texts: list[str] = []
        self._origins: list[str] = []
        self._digest = hashlib.blake2b(digest_size=16)
        self._writer = parquet.ParquetWriter(
            path,
            schema(),
            compression="zstd",
            compression_level=1,
            use_dictionary=["origin"],  # texts hardly repeat, and a dictionary of them costs their size in memory
            write_statistics=False,
            write_page_checksum=True,
        )

    def add(self, text: str, origin: str) -> None:
        """Append one document."""
        data = text.encode("utf-8")
        self._digest.update(len(data).to_bytes(8, "little"))
        self._digest.update(data)
        self.documents += 1
        self.bytes += len(data)
        self._texts.append(text)
        self._origins.append(origin)
        self._held += len(data)
        del data
        if self._held >= ROW_GROUP:
            self._flush()

    def _flush(self) -> None:
        import pyarrow

        if self._texts:
            columns = [pyarrow.array(self._texts, pyarrow.large_string()), pyarrow.array(self._origins, pyarrow.large_string())]
            self._texts, self._origins, self._held = [], [], 0
            self._writer.write_table(pyarrow.table(columns, schema=schema()))

    def close(self) -> dict[str, Any]:
        """Finish the file; its manifest entry: ``file`` (relative to the folder two levels up), documents, bytes, size, hash."""
        self._flush()
        self._writer.close()
        return {
            "file": f"{self.path.parent.name}/{self.path.name}",
            "documents": self.documents,
            "bytes": self.bytes,
            "size": self.path.stat().st_size,
            "hash": self._digest.hexdigest(),
        }

    def abandon(self) -> None:
        """Close without caring whether the disk takes the rest."""
        with contextlib.suppress(Exception):
            self._writer.close()


@contextlib.contextmanager
def new_shards(
    folder: Path, keys: Iterable[Any], name: Callable[[Any], str]
) -> Iterator[tuple[dict[Any, Shard], dict[Any, dict[str, Any]]]]:
    """Open shards by key, and a dictionary that holds their manifest entries after the block ended well."""
    opened: dict[Any, Shard] = {}
    entries: dict[Any, dict[str, Any]] = {}
    try:
        for key in keys:
            opened[key] = Shard(folder / name(key))
        yield opened, entries
        for key, shard in opened.items():
            entries[key] = shard.close()
    finally:
        for shard in opened.values():
            shard.abandon()


def rows(path: Path) -> Iterator[list[tuple[str, str]]]:
    """The documents of a shard, in batches as they are held in memory."""
    from pyarrow import parquet

    with parquet.ParquetFile(path, buffer_size=1 << 20, pre_buffer=False) as file:
        for group in range(file.num_row_groups):
            table = file.read_row_group(group)
            texts, origins = table["text"], table["origin"]
            yield from grouped((texts[i].as_py(), origins[i].as_py()) for i in range(table.num_rows))
