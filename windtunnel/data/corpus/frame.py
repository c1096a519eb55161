"""The bridge between Python generators of documents and Daft's DataFrames."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from windtunnel.data.corpus.tally import Tally
from windtunnel.slots import Source

if TYPE_CHECKING:
    import daft
    import pyarrow

BATCH_BYTES = 8 << 20  # text held in one batch; a longer document is a batch of its own
BATCH_ROWS = 4096


class StreamedSource(Source):
    """A source that yields its documents one by one; the base of the built-in sources.

    :func:`windtunnel.data.corpus.prepare.prepare_corpus` pulls from :meth:`documents` where a source has it, because Daft 0.7.26 puts no
    back-pressure on a Python source: it reads ahead without limit, so a corpus larger than memory would be held whole.
    """

    def documents(self, tally: Tally) -> Iterator[tuple[str, str]]:
        """Texts, each with its origin. What is skipped is counted in ``tally``.

        Raises:
            UserError: where the source cannot be read, naming the file (and the line).
        """
        raise NotImplementedError

    def signature(self) -> str:
        """A text that changes when the documents may have changed, found without reading them all."""
        raise NotImplementedError

    def read(self, tally: Any) -> daft.DataFrame:
        """The same documents as a lazy Daft DataFrame with the columns ``text`` and ``origin``."""
        return frame(lambda: batches(self.documents(tally)))


def engine() -> Any:
    """The ``daft`` module, imported when first needed, without its usage reports and progress bars."""
    os.environ.setdefault("DAFT_ANALYTICS_ENABLED", "0")
    os.environ.setdefault("DAFT_PROGRESS_BAR", "0")
    import daft

    return daft


def schema() -> pyarrow.Schema:
    """The columns of documents. 64-bit offsets, because a batch with one long document may pass 2 GiB."""
    import pyarrow

    return pyarrow.schema([("text", pyarrow.large_string()), ("origin", pyarrow.large_string())])


def grouped(documents: Iterable[tuple[str, str]]) -> Iterator[list[tuple[str, str]]]:
    """Lists of consecutive documents, each of about :data:`BATCH_BYTES` characters or one document."""
    batch: list[tuple[str, str]] = []
    held = 0
    for document in documents:
        if batch and (held + len(document[0]) > BATCH_BYTES or len(batch) >= BATCH_ROWS):
            yield batch
            batch, held = [], 0
        batch.append(document)
        held += len(document[0])
        del document  # else a document of 200 MB lives on while the next is read
    if batch:
        yield batch


def batches(documents: Iterable[tuple[str, str]]) -> Iterator[pyarrow.RecordBatch]:
    """The documents as Arrow batches of :func:`schema`."""
    import pyarrow

    for batch in grouped(documents):
        texts = pyarrow.array([text for text, _ in batch], pyarrow.large_string())
        origins = pyarrow.array([origin for _, origin in batch], pyarrow.large_string())
        yield pyarrow.record_batch([texts, origins], schema=schema())


def frame(make: Callable[[], Iterator[pyarrow.RecordBatch]]) -> daft.DataFrame:
    """A lazy DataFrame over the batches that ``make()`` yields, in their order; ``make`` is called once for each execution."""
    engine()
    from daft.io.source import DataSource, DataSourceTask
    from daft.recordbatch import RecordBatch
    from daft.schema import Schema

    columns = schema()

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
