"""The bridge between Python generators of documents, Arrow batches and Daft's DataFrames."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Union

from windtunnel.core.errors import PartError
from windtunnel.core.part import required
from windtunnel.data.corpus.fields import ORIGIN, TEXT, conform, from_rows, one_batch, plain_schema, stored, text_of, widened
from windtunnel.data.corpus.tally import Tally
from windtunnel.slots import Source

if TYPE_CHECKING:
    import daft
    import pyarrow

BATCH_BYTES = 8 << 20  # held in one batch; a longer document is a batch of its own
BATCH_ROWS = 4096
# A text with its origin; the fields of a document, origin among them; or a batch of documents.
Document = Union[tuple[str, str], Mapping[str, Any], "pyarrow.RecordBatch"]


class StreamedSource(Source):
    """A source that yields its documents one by one; the base of the built-in sources.

    :func:`windtunnel.data.corpus.prepare.prepare_corpus` pulls from :meth:`documents` where a source has it, because Daft 0.7.26 puts no
    back-pressure on a Python source: it reads ahead without limit, so a corpus larger than memory would be held whole.
    """

    @required
    def documents(self, tally: Tally) -> Iterator[Document]:
        """Documents: texts, each with its origin; or dictionaries of fields, of which ``origin`` is one; or Arrow batches of such rows.

        What is skipped is counted in ``tally``.

        Raises:
            UserError: where the source cannot be read, naming the file (and the line).
        """
        raise NotImplementedError

    @required
    def signature(self) -> str:
        """A text that changes when the documents may have changed, found without reading them all."""
        raise NotImplementedError

    def read(self, tally: Any) -> daft.DataFrame:
        """The same documents as a lazy Daft DataFrame. Its columns are the fields that the first of them have; others are counted."""
        first = next(batches(self.documents(tally)), None)
        schema = plain_schema() if first is None else first.schema

        def rows() -> Iterator[pyarrow.RecordBatch]:
            for batch in batches(self.documents(tally)):
                late = [name for name in batch.schema.names if name not in schema.names]
                for name in late:
                    tally.count(f"left out: field {name!r}, which the first documents lack", batch.num_rows)
                batch = batch.drop_columns(late)
                if widened(schema, batch.schema)[0] != schema:
                    raise PartError(f"source {self.name!r}: the types of its fields change: first {schema}, then {batch.schema}")
                yield conform(batch, schema)

        return frame(rows, schema)


def documents_of(source: Source, tally: Tally) -> Iterator[Document]:
    """The documents of any source, one by one or in batches.

    Raises:
        PartError: where it gives a table whose rows are no documents.
    """
    if isinstance(source, StreamedSource):
        yield from source.documents(tally)
        return
    table = source.read(tally)
    if ORIGIN not in table.column_names:
        found = ", ".join(table.column_names)
        raise PartError(f"source part {source.name!r} gave a table without its columns: no column {ORIGIN!r}; the columns are {found}")
    yield from streamed_rows(table)


def texts_of(source: Source, tally: Tally) -> Iterator[str]:
    """The texts of the documents of ``source`` that have one."""
    for document in documents_of(source, tally):
        if isinstance(document, tuple):
            yield document[0] or ""
        elif isinstance(document, Mapping):
            yield document.get(TEXT) or ""
        else:
            yield from (text for text in text_of(document) if text)


def engine() -> Any:
    """The ``daft`` module, imported when first needed, without its usage reports, progress bars and names of queries."""
    os.environ.setdefault("DAFT_ANALYTICS_ENABLED", "0")
    os.environ.setdefault("DAFT_PROGRESS_BAR", "0")
    os.environ.setdefault("DAFT_SHOW_QUERY_ID", "0")  # else a terminal gets a line for every table that is computed
    import daft

    return daft


def batches(documents: Iterable[Document]) -> Iterator[pyarrow.RecordBatch]:
    """Documents in their order as Arrow batches of about :data:`BATCH_BYTES` or one document each, with the fields that its rows have.

    Raises:
        PartError: for a document without an origin, or whose text is none.
    """
    rows: list[Mapping[str, Any]] = []
    held = 0
    for document in documents:
        if isinstance(document, (tuple, Mapping)):
            row = _row(document)
            size = _size(row)
            if rows and (held + size > BATCH_BYTES or len(rows) >= BATCH_ROWS):
                yield _batch(rows)
                rows, held = [], 0
            rows.append(row)
            held += size
            del row
        else:
            if rows:
                yield _batch(rows)
                rows, held = [], 0
            yield from _tidy(document)
        del document  # else a document of 200 MB lives on while the next is read
    if rows:
        yield _batch(rows)


def _batch(rows: list[Mapping[str, Any]]) -> pyarrow.RecordBatch:
    import pyarrow

    try:
        return from_rows(rows)
    except (pyarrow.ArrowException, TypeError) as error:
        raise PartError(f"the text of a document is no text: {error}") from error


def _row(document: tuple[str, str] | Mapping[str, Any]) -> Mapping[str, Any]:
    if isinstance(document, tuple):
        return {TEXT: document[0], ORIGIN: document[1]}
    if ORIGIN not in document:
        raise PartError(f"a document has no origin; its fields are {', '.join(map(str, document))}")
    return document


def _tidy(batch: pyarrow.RecordBatch) -> Iterator[pyarrow.RecordBatch]:
    """A batch with its columns under the types that are stored, in pieces that are not too large."""
    import pyarrow

    if ORIGIN not in batch.schema.names:
        raise PartError(f"documents have no origin; their fields are {', '.join(batch.schema.names)}")
    try:
        schema = pyarrow.schema([(field.name, stored(field.type)) for field in batch.schema])
    except TypeError as error:
        raise PartError(f"documents have a field of a type that cannot be stored: {error}") from error
    yield from pieces(batch if batch.schema.equals(schema) else batch.cast(schema))


def pieces(batch: pyarrow.RecordBatch) -> Iterator[pyarrow.RecordBatch]:
    """A batch in pieces of about :data:`BATCH_BYTES` or one document each."""
    step = max(1, min(BATCH_ROWS, batch.num_rows * BATCH_BYTES // max(1, batch.nbytes)))
    for start in range(0, batch.num_rows, step):
        yield batch.slice(start, step)


def _size(value: Any) -> int:
    """About how many bytes a value holds."""
    if isinstance(value, (str, bytes)):
        return len(value)
    if isinstance(value, Mapping):
        return sum(map(_size, value.values()))
    if isinstance(value, (list, tuple)):
        return sum(map(_size, value)) if value and isinstance(value[0], (str, bytes, Mapping, list, tuple)) else 8 * len(value)
    return 8 * int(getattr(value, "size", 1))  # an array of numpy becomes numbers of 64 bits


def frame(make: Callable[[], Iterator[pyarrow.RecordBatch]], columns: pyarrow.Schema) -> daft.DataFrame:
    """A lazy DataFrame over the batches of schema ``columns`` that ``make()`` yields, in order; it is called for each execution."""
    engine()
    from daft.io.source import DataSource, DataSourceTask
    from daft.recordbatch import RecordBatch
    from daft.schema import Schema

    class Task(DataSourceTask):
        @property
        def schema(self) -> Schema:
            return Schema.from_pyarrow_schema(columns)

        async def read(self) -> AsyncIterator[RecordBatch]:
            for batch in make():
                yield RecordBatch.from_arrow_record_batches([batch], columns)

    class Generated(DataSource):
        @property
        def name(self) -> str:
            return "documents"

        @property
        def schema(self) -> Schema:
            return Schema.from_pyarrow_schema(columns)

        async def get_tasks(self, pushdowns: Any) -> AsyncIterator[DataSourceTask]:
            yield Task()

    return Generated().read()


def streamed(documents: daft.DataFrame, columns: tuple[str, ...] = ("text", "origin")) -> Iterator[tuple[Any, ...]]:
    """The rows of a DataFrame as tuples of ``columns``, in order. Raises ValueError where a column is missing."""
    missing = [name for name in columns if name not in documents.column_names]
    if missing:
        raise ValueError(f"no column {missing[0]!r}; the columns are {', '.join(documents.column_names)}")
    for batch in documents.select(*columns).to_arrow_iter(results_buffer_size=1):
        for row in range(batch.num_rows):
            yield tuple(batch.column(i)[row].as_py() for i in range(len(columns)))


def streamed_rows(documents: daft.DataFrame) -> Iterator[pyarrow.RecordBatch]:
    """The rows of a DataFrame with all their columns, in order."""
    import pyarrow

    for batch in documents.to_arrow_iter(results_buffer_size=1):
        yield batch if isinstance(batch, pyarrow.RecordBatch) else one_batch(batch)
