"""Documents out of parquet and Arrow files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from windtunnel.core.errors import nearest
from windtunnel.data.corpus.columns import Columns, Documents, Note
from windtunnel.data.corpus.fields import GROUP, TEXT, as_text, stored
from windtunnel.data.corpus.opened import CHUNK, OPENERS, Unreadable, kind
from windtunnel.data.corpus.written import chat_text

if TYPE_CHECKING:
    import pyarrow


def read_arrow(path: Path, columns: Columns, note: Note) -> Documents:
    """A parquet file, or an Arrow stream or file as the datasets library writes it, a few megabytes at a time."""
    import pyarrow

    if path.suffix.lower() in OPENERS:
        raise Unreadable("compressed parquet or Arrow file", f"decompress it first: {kind(path)} files are read at random places")
    number = 0
    try:
        for batch in _arrow_batches(path, columns, note):
            yield batch, number + 1
            number += batch.num_rows
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise Unreadable(f"unreadable file ({error.strerror})", f"cannot be read: {error.strerror}") from error
        after = f" (after {number:,} documents)" if number else ""
        detail = f"the {kind(path)} file is damaged or cut short{after}: {str(error).splitlines()[0]}"
        raise Unreadable("damaged or truncated file", detail) from error


def _arrow_batches(path: Path, columns: Columns, note: Note) -> Iterator[pyarrow.RecordBatch]:
    import pyarrow
    from pyarrow import parquet

    if kind(path) == ".parquet":
        with parquet.ParquetFile(path, buffer_size=CHUNK, pre_buffer=False, page_checksum_verification=True) as file:
            kept = _kept_columns(file.schema_arrow, columns, note)
            for batch in file.iter_batches(batch_size=_rows(file), columns=[*kept] if len(kept) < len(file.schema_arrow) else None):
                yield _arrow_rows(batch, kept, columns)
        return
    with pyarrow.memory_map(str(path)) as mapped:
        reader, batches = arrow_reader(mapped)
        yield from rows_of((piece for batch in batches for piece in _pieces(batch)), reader.schema, columns, note)


def _pieces(batch: pyarrow.RecordBatch) -> Iterator[pyarrow.RecordBatch]:
    """A batch in pieces of about 4 MiB."""
    step = max(1, len(batch) * (4 << 20) // max(1, batch.nbytes))
    return (batch.slice(start, step) for start in range(0, len(batch), step))


def rows_of(batches: Iterator[pyarrow.RecordBatch], schema: pyarrow.Schema, columns: Columns, note: Note) -> Iterator[pyarrow.RecordBatch]:
    """The documents in batches of one schema.

    Raises:
        Unreadable: where they have no text that ``columns`` wants.
    """
    kept = _kept_columns(schema, columns, note)
    for batch in batches:
        yield _arrow_rows(batch, kept, columns)


def arrow_reader(mapped: Any) -> tuple[Any, Iterator[pyarrow.RecordBatch]]:
    """What reads an Arrow stream or file, and its batches."""
    import pyarrow
    from pyarrow import ipc

    try:
        stream = ipc.open_stream(mapped)
        return stream, iter(stream)
    except pyarrow.ArrowInvalid:
        file = ipc.open_file(mapped)
        return file, (file.get_batch(i) for i in range(file.num_record_batches))


def _rows(file: Any) -> int:
    """How many rows of a parquet file make about 4 MiB, judged by its largest row group."""
    groups = [file.metadata.row_group(i) for i in range(file.num_row_groups)]
    return max((min(4096, max(1, group.num_rows * (4 << 20) // max(1, group.total_byte_size))) for group in groups), default=1)


def _kept_columns(schema: pyarrow.Schema, columns: Columns, note: Note) -> dict[str, str]:
    """The columns that are read, by their names in the file, each with its name in documents; "" for what is only written into the text."""
    chat = next((name for name in columns.spare(schema.names) if is_chats(schema.field(name).type)), None)
    text = None if columns.template else chat or columns.text
    kept = columns.once(schema.names, note, text)
    missing = None if chat else columns.missing(schema.names)
    if missing is not None:
        raise Unreadable(f"no field {missing!r}", f"no column {missing!r}; {nearest(missing, schema.names)}")
    if text is not None:
        form = schema.field(text).type
        if not (_is_text(form) or is_chats(form)):
            raise Unreadable(f"field {text!r} is not text", f"column {text!r} holds {form}, which is not text")
    for their in [their for their, ours in kept.items() if ours != TEXT]:
        try:
            stored(schema.field(schema.get_field_index(their)).type)
        except TypeError as error:
            note("left out: column of a type that is not kept", where=f"column {their!r}: {error}")
            del kept[their]
    if columns.group is not None and columns.group in schema.names and columns.group not in kept:
        kept[columns.group] = GROUP
    for name in columns.template.fields if columns.template else ():
        kept.setdefault(name, "")
    return kept


def _is_text(form: pyarrow.DataType) -> bool:
    from pyarrow import types

    value = form.value_type if types.is_dictionary(form) else form
    return types.is_string(value) or types.is_large_string(value) or types.is_string_view(value) or types.is_binary(value)


def is_chats(form: pyarrow.DataType) -> bool:
    """Whether values of a type are lists of turns."""
    from pyarrow import types

    listed = types.is_list(form) or types.is_large_list(form) or types.is_fixed_size_list(form)
    return listed and types.is_struct(form.value_type) and {"role", "from"} & {field.name for field in form.value_type} != set()


def _arrow_rows(batch: pyarrow.RecordBatch, kept: dict[str, str], columns: Columns) -> pyarrow.RecordBatch:
    import pyarrow

    found: dict[str, Any] = {}
    if columns.template:
        values = [batch.column(batch.schema.names.index(name)).to_pylist() for name in columns.template.fields]
        records = (dict(zip(columns.template.fields, row, strict=True)) for row in zip(*values, strict=True))
        found[TEXT] = pyarrow.array([columns.template.write(record) for record in records], pyarrow.large_string())
    for their, ours in kept.items():
        column = batch.column(batch.schema.names.index(their))
        column.validate(full=True)  # text that is not valid UTF-8
        if isinstance(column, pyarrow.ExtensionArray):
            column = column.storage
        if ours == TEXT:
            found[ours] = pyarrow.array(_strings(column), pyarrow.large_string())
        elif ours not in (GROUP, ""):
            found[ours] = column.cast(stored(column.type), safe=False)
        if their == columns.group:
            found[GROUP] = pyarrow.array([as_text(value) for value in column.to_pylist()], pyarrow.large_string())
    return pyarrow.record_batch(found)


def _strings(column: Any) -> list[str]:
    if is_chats(column.type):
        return [chat_text(turns) if turns else "" for turns in column.to_pylist()]
    texts = (value.as_py() for value in column)
    return [text.decode("utf-8") if isinstance(text, bytes) else text or "" for text in texts]
