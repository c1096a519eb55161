"""Documents out of single files: plain text of any encoding, JSON, CSV, parquet and Arrow, compressed or not, always streaming."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable
from pathlib import Path

from windtunnel.core.files import is_lfs_pointer
from windtunnel.data.corpus.arrow import arrow_reader, is_chats, read_arrow
from windtunnel.data.corpus.columns import Columns, Documents, Note
from windtunnel.data.corpus.fields import TEXT
from windtunnel.data.corpus.opened import Unreadable, declared_encoding, encoding_of, kind, looks_like_text, opened, telling_line
from windtunnel.data.corpus.records import json_records, read_json
from windtunnel.data.corpus.tables import header_of, read_table
from windtunnel.data.corpus.web import is_crawl, is_wiki, read_warc, read_wiki
from windtunnel.data.corpus.written import is_chat, is_empty_chat

DOCUMENTS = (b"%PDF-", b"PK\x03\x04")  # how documents begin that are packed
BESIDE_PAGES = (".css", ".js", ".svg")  # what folders of web pages hold beside them, and is text
AS_THEY_STAND = "style sheets, scripts and drawings: read as they stand"
LONGEST = 1 << 30  # bytes of one text file; parquet holds no value above 2 GiB


def read_text(path: Path, columns: Columns, note: Note) -> Documents:
    """The whole file as one document: its text where it is a document such as HTML or PDF, unless that is not wanted."""
    if columns.text is None:
        raise Unreadable("plain file among records without text", "is a plain file, which is nothing but text")
    with opened(path) as file:
        data = file.read(LONGEST + 1)
    if len(data) > LONGEST:
        detail = "holds more than 1 GiB, too long for one document; cut it into several files, or make it JSON lines"
        raise Unreadable("document over 1 GiB", detail)
    if not columns.extract:
        yield {TEXT: decoded(data, columns, note)}, ""
        return
    from windtunnel.data.extract.contents import extracted, form_of, is_packed

    form = form_of(data, kind(path))
    if form is None:
        text = decoded(data, columns, note)
        if kind(path) in BESIDE_PAGES:
            note(AS_THEY_STAND, size=len(data))
    else:
        text = extracted(form, data if is_packed(form) else decoded(data, columns, note))
        note(f"{form}: text extracted", size=len(data))
    del data
    yield {TEXT: text}, ""


def decoded(data: bytes, columns: Columns, note: Note) -> str:
    """The text of a plain file, in the encoding that was given for it, that it names, or that is recognised."""
    encoding = columns.encoding or encoding_of(data, declared_encoding(data))
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        looks = "is not" if columns.encoding else "looks like"
        detail = f"{looks} {encoding}: byte {error.start} (0x{data[error.start]:02x}) does not fit; save it as UTF-8"
        raise Unreadable(f"not valid {encoding}" if columns.encoding else "not valid text in any encoding", detail) from error
    if encoding not in ("utf-8", "utf-8-sig", "ascii"):
        note(f"decoded from {encoding}", size=len(data), where=telling_line(text))
    return text


READERS: dict[str, Callable[[Path, Columns, Note], Documents]] = {
    ".jsonl": read_json,
    ".ndjson": read_json,
    ".json": read_json,
    ".csv": read_table,
    ".tsv": read_table,
    ".parquet": read_arrow,
    ".arrow": read_arrow,
    ".feather": read_arrow,
    ".warc": read_warc,
    ".wet": read_warc,
}


def read_file(path: Path, columns: Columns, note: Note) -> Documents:
    """The documents of one file by its suffix, each with the place in it.

    ``note(what, documents=1, size=0, where="")`` counts what is worth a line in the table; it returns whether a record that is not
    like the others may be skipped.

    Raises:
        Unreadable: where the file, or the rest of it, gives no documents.
    """
    if is_lfs_pointer(path):
        detail = "is not the file but a pointer of Git LFS to it; git lfs pull brings the file"
        raise Unreadable("pointer of Git LFS", detail)
    reader = READERS.get(kind(path), read_text)
    if kind(path) == ".xml" and is_wiki(path):
        reader = read_wiki
    if reader is read_text and is_crawl(path):
        reader = read_warc
    return reader(path, columns, note)


def _unsaid(record: object, columns: Columns) -> bool:
    """Whether a record is an empty chat, which does not tell what the others are."""
    spare = columns.spare(record) if isinstance(record, dict) else []
    return bool(spare) and all(is_empty_chat(record[name]) for name in spare)  # type: ignore[index]


def gives_text(path: Path, columns: Columns) -> bool | None:
    """Whether the documents of a file have text, judged by its beginning: its first record or its header; None where it gives none.

    A file that does not hold records is text, unless it is binary.
    """
    import pyarrow
    from pyarrow import parquet

    suffix = kind(path)

    def has_text(names: Iterable[str], chat: Callable[[str], bool]) -> bool:
        return columns.missing(names) is None or any(map(chat, columns.spare(names)))

    try:
        if suffix == ".parquet":
            schema = parquet.read_schema(path)
            return has_text(schema.names, lambda name: is_chats(schema.field(name).type))
        if suffix in (".arrow", ".feather"):
            with pyarrow.memory_map(str(path)) as mapped:
                schema = arrow_reader(mapped)[0].schema
                return has_text(schema.names, lambda name: is_chats(schema.field(name).type))
        if suffix in (".csv", ".tsv"):
            names = header_of(path, columns.needed, columns.encoding)[1]
            return columns.missing(names) is None if names else None
        if suffix in (".warc", ".wet"):
            return True
        if suffix in READERS:
            records = (record for record, _ in json_records(path, columns.encoding))
            record = next((record for record in records if not _unsaid(record, columns)), None)
            if isinstance(record, dict):
                return has_text(record, lambda name: is_chat(record[name]))
            return True if isinstance(record, str) else None
        with opened(path) as file:
            head = file.read(8192)
            return True if columns.encoding or head.startswith(DOCUMENTS) or looks_like_text(head) else None
    except (Unreadable, pyarrow.ArrowException, OSError, UnicodeDecodeError, csv.Error):
        return None
