"""Documents out of single files: plain text of any encoding, JSON, CSV, parquet and Arrow, compressed or not, always streaming."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from windtunnel.core.errors import nearest
from windtunnel.data.corpus.fields import GROUP, RESERVED, TEXT, as_text, stored
from windtunnel.data.corpus.opened import CHUNK, OPENERS, Unreadable, encoding_of, kind, looks_like_text, opened

if TYPE_CHECKING:
    import pyarrow

LONGEST = 1 << 30  # bytes of one text file; parquet holds no value above 2 GiB

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

    def renamed(self) -> list[tuple[str, str]]:
        """The fields met so far that are kept under another name."""
        return sorted((their, ours) for their, ours in self.kept(self.seen).items() if their not in (ours, self.text))


def read_text(path: Path, columns: Columns, note: Note) -> Documents:
    """The whole file as one document."""
    if columns.text is None:
        raise Unreadable("plain file among records without text", "is a plain file, which is nothing but text")
    with opened(path) as file:
        data = file.read(LONGEST + 1)
    if len(data) > LONGEST:
        detail = "holds more than 1 GiB, too long for one document; cut it into several files, or make it JSON lines"
        raise Unreadable("document over 1 GiB", detail)
    encoding = encoding_of(data)
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        detail = f"looks like {encoding}, but byte {error.start} (0x{data[error.start]:02x}) does not fit; save it as UTF-8"
        raise Unreadable("not valid text in any encoding", detail) from error
    if encoding not in ("utf-8", "utf-8-sig", "ascii"):
        note(f"decoded from {encoding}", size=len(data))
    del data
    yield {TEXT: text}, ""


# Records ------------------------------------------------------------------------------------------------------------------------


def read_json(path: Path, columns: Columns, note: Note) -> Documents:
    """One JSON object (or string) a line, or an array of them, or one after the other, in UTF-8; never more than one in memory.

    A value that is an object, or a list that holds one, is kept as JSON text, because its keys may be others in every record.
    """
    read = 0
    for record, number in _json_records(path):
        try:
            yield _row(record, columns, f"line {number}"), f":{number}"
            read += 1
        except Unreadable as error:
            # A record unlike the others is counted; a file whose first record is no good, or a file named alone, is refused.
            if not read or not note("skipped: record, " + error.what, where=error.detail):
                raise


def _row(record: Any, columns: Columns, where: str) -> dict[str, Any]:
    """The fields of one JSON record."""
    text = columns.text
    if isinstance(record, str) and text is not None:
        return {TEXT: record}
    if not isinstance(record, dict):
        what, wanted = ("record", "an object") if text is None else (f"field {text!r}", f"an object with the field {text!r}")
        raise Unreadable(f"no {what}", f"{where}: expected {wanted}, got {type(record).__name__}")
    if text is not None and text not in record:
        raise Unreadable(f"no field {text!r}", f"{where}: no field {text!r}; {nearest(text, map(str, record))}")
    if text is not None and not isinstance(record[text], str | None):
        shown = json.dumps(record[text])[:40]
        raise Unreadable(f"field {text!r} is not text", f"{where}: field {text!r} holds {shown}, which is not text")
    row = {ours: as_text(record[their]) if _holds_object(record[their]) else record[their] for their, ours in columns.kept(record).items()}
    if text is not None:
        row[TEXT] = row[TEXT] or ""
    if columns.group is not None:
        row[GROUP] = as_text(record.get(columns.group))
    return row


def _holds_object(value: Any) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and any(_holds_object(one) for one in value))


def _json_records(path: Path) -> Iterator[tuple[Any, int]]:
    """The records of a JSON file, each with the line it begins on."""
    return _json_values(path) if kind(path) == ".json" else _json_lines(path)


def _json_lines(path: Path) -> Iterator[tuple[Any, int]]:
    with opened(path) as file:
        for number, line in enumerate(file, 1):
            where = f"line {number}"
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
                if not text.strip():
                    continue
                record = json.loads(text)
            except UnicodeDecodeError as error:
                detail = f"{where}: byte {error.start} (0x{line[error.start]:02x}) is not valid UTF-8"
                raise Unreadable("not valid UTF-8", detail) from error
            except (ValueError, RecursionError) as error:
                raise Unreadable("not valid JSON", f"{where}: not valid JSON: {error}") from error
            del line, text
            yield record, number
            del record


_GAP = re.compile(r"[\s,]*")


def _json_values(path: Path) -> Iterator[tuple[Any, int]]:
    """The elements of the outermost array, or the values at the top of the file, each with the line it begins on."""
    decode = json.JSONDecoder().raw_decode
    text, place, line, inside, want = "", 0, 1, False, CHUNK
    with opened(path) as raw:
        file = io.TextIOWrapper(raw, encoding="utf-8-sig", newline="\n")
        try:
            while True:
                gap = _GAP.match(text, place)
                end = gap.end() if gap else place
                line += text.count("\n", place, end)
                place = end
                if place < len(text) and text[place] == "[" and not inside:
                    inside, place = True, place + 1
                    continue
                if place < len(text) and text[place] == "]" and inside:
                    inside, place = False, place + 1
                    continue
                problem: json.JSONDecodeError | None = None
                if place < len(text):
                    try:
                        value, stop = decode(text, place)
                        # A number at the very end of what was read may go on; only then is more needed to be sure.
                        if stop < len(text) or text[stop - 1] in '}]"':
                            yield value, line
                            line += text.count("\n", place, stop)
                            place, want = stop, CHUNK
                            continue
                    except json.JSONDecodeError as error:
                        problem = error
                        # Wrong well before the end of what was read: more text cannot mend it, and a huge file is not read for nothing.
                        if error.pos < len(text) - 16 and not error.msg.startswith("Unterminated"):
                            want = 0
                more = file.read(want) if want else ""
                want *= 2  # doubling, so that one long value is not scanned once for every megabyte of it
                if not more:
                    if problem or inside:
                        cause = problem.msg if problem else "the array is not closed"
                        line += text.count("\n", place, problem.pos) if problem else 0
                        raise Unreadable("not valid JSON", f"line {line}: not valid JSON: {cause}")
                    if place < len(text):
                        yield decode(text, place)[0], line
                    return
                text, place = text[place:] + more, 0
        except UnicodeDecodeError as error:
            raise Unreadable("not valid UTF-8", f"not valid UTF-8 after line {line}: {error.reason}") from error
        except RecursionError as error:
            raise Unreadable("not valid JSON", f"line {line}: nested too deeply") from error


def read_table(path: Path, columns: Columns, note: Note) -> Documents:
    """CSV or TSV with a header line, in any encoding; all values are text.

    The separator is the one with which the header has the field of the text, else the one that gives most columns.
    """
    encoding, names, mark = _header(path, columns.text)
    if not names or (columns.text is not None and columns.text not in names):
        wanted = columns.text or TEXT
        raise Unreadable(f"no field {wanted!r}", f"line 1: the header has no column {wanted!r}; {nearest(wanted, names)}")
    kept = columns.kept(dict.fromkeys(names))
    places = {ours: names.index(their) for their, ours in kept.items()}
    if columns.group in names:
        places[GROUP] = names.index(columns.group)
    with opened(path) as raw:
        file = io.TextIOWrapper(raw, encoding=encoding, newline="")
        file.readline()
        rows = csv.reader(file, delimiter=mark)
        try:
            for row in rows:
                found: dict[str, Any] = {ours: row[place] if place < len(row) else None for ours, place in places.items()}
                if columns.text is not None:
                    found[TEXT] = found[TEXT] or ""
                yield found, f":{rows.line_num + 1}"
        except csv.Error as error:
            raise Unreadable("not valid CSV", f"line {rows.line_num + 1}: not valid CSV: {error}") from error
        except UnicodeDecodeError as error:
            detail = f"after line {rows.line_num + 1}: not valid {encoding}: {error.reason}"
            raise Unreadable("not valid text in any encoding", detail) from error


def _header(path: Path, field: str | None) -> tuple[str, list[str], str]:
    """The encoding of a CSV file, the names of its columns, and what separates them."""
    csv.field_size_limit((1 << 31) - 1)
    with opened(path) as raw:
        head = raw.read(CHUNK >> 2)
    encoding = encoding_of(head[: head.rfind(b"\n") + 1] or head)
    encoding = "utf-8-sig" if encoding == "utf-8" else encoding
    with opened(path) as raw:
        header = io.TextIOWrapper(raw, encoding=encoding, newline="").readline()
    separators = "\t,;|" if kind(path) == ".tsv" else ",;\t|"
    names = {mark: next(csv.reader([header], delimiter=mark), []) for mark in separators}
    most = max(names, key=lambda mark: len(names[mark]))
    mark = next((mark for mark, columns in names.items() if field in columns), most)
    # Tables are often written with a first column of row numbers, which has no name.
    return encoding, [name or f"column {place}" for place, name in enumerate(names[mark], 1)], mark


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
            for batch in file.iter_batches(batch_size=_rows(file), columns=[*kept] if columns.keep is not None else None):
                yield _arrow_rows(batch, kept, columns)
        return
    with pyarrow.memory_map(str(path)) as mapped:
        reader, batches = _arrow_reader(mapped)
        kept = _kept_columns(reader.schema, columns, note)
        for batch in batches:
            step = max(1, len(batch) * (4 << 20) // max(1, batch.nbytes))
            for start in range(0, len(batch), step):
                yield _arrow_rows(batch.slice(start, step), kept, columns)


def _arrow_reader(mapped: Any) -> tuple[Any, Iterator[pyarrow.RecordBatch]]:
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
    """The columns that are read, by their names in the file; the one of the group among them, under the name it has in documents."""
    import pyarrow.types as types

    if columns.text is not None:
        if columns.text not in schema.names:
            detail = f"no column {columns.text!r}; {nearest(columns.text, schema.names)}"
            raise Unreadable(f"no field {columns.text!r}", detail)
        form = schema.field(columns.text).type
        value = form.value_type if types.is_dictionary(form) else form
        if not (types.is_string(value) or types.is_large_string(value) or types.is_string_view(value) or types.is_binary(value)):
            raise Unreadable(f"field {columns.text!r} is not text", f"column {columns.text!r} holds {form}, which is not text")
    kept = dict(columns.kept(dict.fromkeys(schema.names)))
    for their in [their for their, ours in kept.items() if ours != TEXT]:
        try:
            stored(schema.field(schema.get_field_index(their)).type)
        except TypeError as error:
            note("left out: column of a type that is not kept", where=f"column {their!r}: {error}")
            del kept[their]
    if columns.group is not None and columns.group in schema.names and columns.group not in kept:
        kept[columns.group] = GROUP
    return kept


def _arrow_rows(batch: pyarrow.RecordBatch, kept: dict[str, str], columns: Columns) -> pyarrow.RecordBatch:
    import pyarrow

    found: dict[str, Any] = {}
    for their, ours in kept.items():
        column = batch.column(batch.schema.names.index(their))
        column.validate(full=True)  # text that is not valid UTF-8
        if isinstance(column, pyarrow.ExtensionArray):
            column = column.storage
        if ours == TEXT:
            found[ours] = pyarrow.array(_strings(column), pyarrow.large_string())
        elif ours != GROUP:
            found[ours] = column.cast(stored(column.type), safe=False)
        if their == columns.group:
            found[GROUP] = pyarrow.array([as_text(value) for value in column.to_pylist()], pyarrow.large_string())
    return pyarrow.record_batch(found)


def _strings(column: Any) -> list[str]:
    texts = (value.as_py() for value in column)
    return [text.decode("utf-8") if isinstance(text, bytes) else text or "" for text in texts]


READERS: dict[str, Callable[[Path, Columns, Note], Documents]] = {
    ".jsonl": read_json,
    ".ndjson": read_json,
    ".json": read_json,
    ".csv": read_table,
    ".tsv": read_table,
    ".parquet": read_arrow,
    ".arrow": read_arrow,
}


def read_file(path: Path, columns: Columns, note: Note) -> Documents:
    """The documents of one file by its suffix, each with the place in it.

    ``note(what, documents=1, size=0, where="")`` counts what is worth a line in the table; it returns whether a record that is not
    like the others may be skipped.

    Raises:
        Unreadable: where the file, or the rest of it, gives no documents.
    """
    return READERS.get(kind(path), read_text)(path, columns, note)


def gives_text(path: Path, field: str) -> bool | None:
    """Whether the documents of a file have text, judged by its beginning: its first record or its header; None where it gives none.

    A file that does not hold records is text, unless it is binary.
    """
    import pyarrow
    from pyarrow import parquet

    suffix = kind(path)
    try:
        if suffix == ".parquet":
            return field in parquet.read_schema(path).names
        if suffix == ".arrow":
            with pyarrow.memory_map(str(path)) as mapped:
                return field in _arrow_reader(mapped)[0].schema.names
        if suffix in (".csv", ".tsv"):
            names = _header(path, field)[1]
            return field in names if names else None
        if suffix in READERS:
            record = next((record for record, _ in _json_records(path)), None)
            return True if isinstance(record, str) else field in record if isinstance(record, dict) else None
        with opened(path) as file:
            return True if looks_like_text(file.read(8192)) else None
    except (Unreadable, pyarrow.ArrowException, OSError, UnicodeDecodeError, csv.Error):
        return None
