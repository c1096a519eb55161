"""What curators removed, and why: a table beside the documents that stay, counts by reason, and some examples of each."""

from __future__ import annotations

import contextlib
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from windtunnel.data.corpus.tally import EXAMPLES

if TYPE_CHECKING:
    import pyarrow

VICTIMS = "victims"  # the folder of these tables
SHOWN = 160  # characters of an example


def schema() -> pyarrow.Schema:
    """The columns of the table."""
    import pyarrow

    text = pyarrow.large_string()
    fields = {name: text for name in ("curator", "source", "origin", "reason", "detail")} | {"bytes": pyarrow.int64(), "beginning": text}
    return pyarrow.schema(list(fields.items()))


class Victims:
    """A parquet file of removed documents with the columns of :func:`schema`, while it is written.

    Attributes:
        counts: documents and bytes, by source and reason.
        examples: some rows by (source, reason).
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.counts: dict[str, dict[str, list[int]]] = {}
        self.examples: dict[tuple[str, str], list[dict[str, Any]]] = {}
        self._writer: Any = None

    def add(self, rows: pyarrow.RecordBatch | None) -> None:
        """Write rows; None where there are none."""
        if rows is None or not rows.num_rows:
            return
        from pyarrow import parquet

        if self._writer is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._writer = parquet.ParquetWriter(self.path, rows.schema, compression="zstd", compression_level=1)
        self._writer.write_batch(rows)
        for number, (source, reason, size) in enumerate(
            zip(*(rows.column(name).to_pylist() for name in ("source", "reason", "bytes")), strict=True)
        ):
            count = self.counts.setdefault(source, {}).setdefault(reason, [0, 0])
            count[0] += 1
            count[1] += size
            if count[0] <= EXAMPLES:
                self.examples.setdefault((source, reason), []).extend(rows.slice(number, 1).to_pylist())

    def entry(self, folder: Path) -> dict[str, Any]:
        """What a manifest says of it: the ``file`` relative to ``folder``, and how many ``documents`` it holds."""
        documents = sum(count for reasons in self.counts.values() for count, _ in reasons.values())
        return {"file": self.path.relative_to(folder).as_posix(), "documents": documents}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._writer is not None:
            with contextlib.suppress(Exception) if kind else contextlib.nullcontext():
                self._writer.close()
            self._writer = None


def shown(example: dict[str, Any]) -> str:
    """One removed document on a line: where it came from, why it went, and how it begins."""
    beginning = " ".join((example["beginning"] or "").split())[:SHOWN]
    return example["origin"] + (f" ({example['detail']})" if example["detail"] else "") + (f": {beginning}" if beginning else "")
