"""Documents out of single files: plain text of any encoding, JSON, CSV, parquet and Arrow, compressed or not, always streaming."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

from windtunnel.data.corpus.arrow import arrow_reader, read_arrow
from windtunnel.data.corpus.columns import Columns, Documents, Note
from windtunnel.data.corpus.fields import TEXT
from windtunnel.data.corpus.opened import Unreadable, encoding_of, kind, looks_like_text, opened
from windtunnel.data.corpus.records import json_records, read_json
from windtunnel.data.corpus.tables import header_of, read_table

LONGEST = 1 << 30  # bytes of one text file; parquet holds no value above 2 GiB


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
                return field in arrow_reader(mapped)[0].schema.names
        if suffix in (".csv", ".tsv"):
            names = header_of(path, field)[1]
            return field in names if names else None
        if suffix in READERS:
            record = next((record for record, _ in json_records(path)), None)
            return True if isinstance(record, str) else field in record if isinstance(record, dict) else None
        with opened(path) as file:
            return True if looks_like_text(file.read(8192)) else None
    except (Unreadable, pyarrow.ArrowException, OSError, UnicodeDecodeError, csv.Error):
        return None
