"""Documents out of single files: plain text of any encoding, JSON, CSV, parquet and Arrow, compressed or not, always streaming."""

from __future__ import annotations

import bz2
import codecs
import csv
import gzip
import io
import json
import lzma
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from windtunnel.core.errors import nearest

LONGEST = 1 << 30  # bytes of one text file; parquet holds no value above 2 GiB
CHUNK = 1 << 20
RECORDS = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".arrow")
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark is the beginning of this one
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_CONTROL = re.compile(r"[\x00-\x06\x0e-\x1a\x7f-\x9f]")

Documents = Iterator[tuple[str, str]]
Note = Callable[..., bool]


class Unreadable(Exception):
    """A file, or a record, that gives no document. ``what`` is the wording for the table, ``detail`` the sentence for the user."""

    def __init__(self, what: str, detail: str) -> None:
        super().__init__(detail)
        self.what = what
        self.detail = detail


# Bytes --------------------------------------------------------------------------------------------------------------------------


class _Zstandard(io.RawIOBase):
    """Decompressed bytes of a .zst file of one or several frames.

    The library's own reader takes a missing end for the end of the text; this one raises EOFError.
    """

    def __init__(self, path: Path) -> None:
        import zstandard

        # Long-distance frames need a large window; the library's default refuses them.
        self._decompressor = zstandard.ZstdDecompressor(max_window_size=1 << 31)
        self._file = path.open("rb")
        self._frame = self._decompressor.decompressobj()
        self._begun = False
        self._left = b""
        self._ready = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready:
            data = self._left or self._file.read(1 << 14)
            self._left = b""
            if not data:
                if self._begun:
                    raise EOFError("the compressed data end in the middle of a frame")
                return 0
            self._begun = True
            self._ready = memoryview(self._frame.decompress(data))
            if self._frame.eof:
                self._left = self._frame.unused_data
                self._frame = self._decompressor.decompressobj()
                self._begun = False
        count = min(len(buffer), len(self._ready))
        buffer[:count] = self._ready[:count]
        self._ready = self._ready[count:]
        return count

    def close(self) -> None:
        self._file.close()
        super().close()


_OPENERS: dict[str, Callable[[Path], Any]] = {
    ".gz": gzip.open,
    ".zst": lambda path: io.BufferedReader(_Zstandard(path), CHUNK),
    ".bz2": bz2.open,
    ".xz": lzma.open,
}


def kind(path: Path) -> str:
    """The suffix that says what is in the file, below the one of a compression: ``.jsonl`` for ``mail.jsonl.zst``."""
    return (Path(path.stem) if path.suffix.lower() in _OPENERS else path).suffix.lower()


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """The decompressed bytes of ``path``. What goes wrong while reading is raised as :class:`Unreadable`."""
    import zstandard

    suffix = path.suffix.lower()
    try:
        with _OPENERS.get(suffix, lambda plain: plain.open("rb"))(path) as file:
            yield file
    except (EOFError, gzip.BadGzipFile, zlib.error, lzma.LZMAError, zstandard.ZstdError) as error:
        cause = "is cut short" if isinstance(error, EOFError) else "is damaged"
        raise Unreadable("damaged or truncated file", f"the {suffix} file {cause}: {error}") from error
    except OSError as error:
        if suffix in _OPENERS and error.errno is None:  # bz2 reports damage so
            raise Unreadable("damaged or truncated file", f"the {suffix} file is damaged: {error}") from error
        raise Unreadable(f"unreadable file ({error.strerror or error})", f"cannot be read: {error.strerror or error}") from error


def encoding_of(data: bytes) -> str:
    """The encoding of a text file: by its byte order mark, else UTF-8 where it is that, else what charset-normalizer recognises.

    Raises:
        Unreadable: for binary data, and for UTF-8 with damaged bytes in it (which would else be read as some other encoding).
    """
    for mark, encoding in _BOMS:
        if data.startswith(mark):
            return encoding
    if b"\0" in data[:8192]:
        raise Unreadable("binary file", "is a binary file (it has zero bytes)")
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        offset = error.start
    else:
        if _mostly_control(data[:8192].decode("utf-8", "ignore")):
            raise Unreadable("binary file", "is a binary file (it is full of control characters)")
        return "utf-8"
    begin = data.rfind(b"\n", 0, max(0, offset - (CHUNK >> 5))) + 1
    sample = data[max(begin, offset - (CHUNK >> 4)) : offset + (CHUNK >> 4)]
    text = sample.decode("utf-8", "replace")
    bad = text.count("\ufffd")
    if sum(not character.isascii() for character in text) - bad > 4 * bad:
        detail = f"is UTF-8 text with invalid bytes, the first 0x{data[offset]:02x} at byte {offset}; save it as UTF-8"
        raise Unreadable("not valid UTF-8", detail)
    import charset_normalizer

    best = charset_normalizer.from_bytes(sample).best()
    if best is None or _mostly_control(sample.decode(best.encoding, "ignore")):
        raise Unreadable("binary file", f"is no text in any encoding (not UTF-8 from byte {offset} on, and no other fits)")
    return best.encoding


def _mostly_control(text: str) -> bool:
    return len(_CONTROL.findall(text[:8192])) > 0.02 * min(len(text), 8192)


# Text ---------------------------------------------------------------------------------------------------------------------------


def read_text(path: Path, field: str, note: Note) -> Documents:
    """The whole file as one document."""
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
    yield text, ""


# Records ------------------------------------------------------------------------------------------------------------------------


def _text_in(record: Any, field: str, where: str) -> str:
    if isinstance(record, str):
        return record
    if not isinstance(record, dict):
        raise Unreadable(f"no field {field!r}", f"{where}: expected an object with the field {field!r}, got {type(record).__name__}")
    if field not in record:
        raise Unreadable(f"no field {field!r}", f"{where}: no field {field!r}; {nearest(field, map(str, record))}")
    value = record[field]
    if value is None:
        return ""
    if not isinstance(value, str):
        raise Unreadable(f"field {field!r} is not text", f"{where}: field {field!r} holds {json.dumps(value)[:40]}, which is not text")
    return value


def read_json_lines(path: Path, field: str, note: Note) -> Documents:
    """One JSON object (or string) a line, in UTF-8."""
    read = 0
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
            try:
                yield _text_in(record, field, where), f":{number}"
                read += 1
            except Unreadable as error:
                _or_skip(error, read, note)


def _or_skip(error: Unreadable, read: int, note: Note) -> None:
    """A record that is not like the others is counted; a file whose first record is no good, or a file named alone, is refused."""
    if not read or not note("skipped: record, " + error.what, where=error.detail):
        raise error


def read_json(path: Path, field: str, note: Note) -> Documents:
    """An array of objects (or strings), or objects one after the other, in UTF-8; never more than one of them in memory."""
    read = 0
    for record, number in _json_values(path):
        try:
            yield _text_in(record, field, f"line {number}"), f":{number}"
            read += 1
        except Unreadable as error:
            _or_skip(error, read, note)


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


def read_table(path: Path, field: str, note: Note) -> Documents:
    """CSV or TSV with a header line, in any encoding; the separator is the one with which the header has the field."""
    with opened(path) as raw:
        head = raw.read(CHUNK >> 2)
    encoding = encoding_of(head[: head.rfind(b"\n") + 1] or head)
    csv.field_size_limit((1 << 31) - 1)
    with opened(path) as raw:
        file = io.TextIOWrapper(raw, encoding="utf-8-sig" if encoding == "utf-8" else encoding, newline="")
        header = file.readline()
        separators = "\t,;|" if kind(path) == ".tsv" else ",;\t|"
        names = {mark: next(csv.reader([header], delimiter=mark), []) for mark in separators}
        mark = next((mark for mark, columns in names.items() if field in columns), None)
        if mark is None:
            columns = max(names.values(), key=len)
            raise Unreadable(f"no field {field!r}", f"line 1: the header has no column {field!r}; {nearest(field, columns)}")
        column, rows = names[mark].index(field), csv.reader(file, delimiter=mark)
        try:
            for row in rows:
                yield (row[column] if column < len(row) else ""), f":{rows.line_num + 1}"
        except csv.Error as error:
            raise Unreadable("not valid CSV", f"line {rows.line_num + 1}: not valid CSV: {error}") from error
        except UnicodeDecodeError as error:
            detail = f"after line {rows.line_num + 1}: not valid {encoding}: {error.reason}"
            raise Unreadable("not valid text in any encoding", detail) from error


def read_arrow(path: Path, field: str, note: Note) -> Documents:
    """A parquet file, or an Arrow stream or file as the datasets library writes it, a few megabytes at a time."""
    import pyarrow
    from pyarrow import ipc, parquet

    if path.suffix.lower() in _OPENERS:
        raise Unreadable("compressed parquet or Arrow file", f"decompress it first: {kind(path)} files are read at random places")
    number = 0
    try:
        if kind(path) == ".parquet":
            with parquet.ParquetFile(path, buffer_size=CHUNK, pre_buffer=False, page_checksum_verification=True) as file:
                _check_column(file.schema_arrow, field)
                for batch in file.iter_batches(batch_size=_rows(file), columns=[field]):
                    for text in _strings(batch.column(0)):
                        yield text, f":{(number := number + 1)}"
        else:
            with pyarrow.memory_map(str(path)) as mapped:
                try:
                    reader = ipc.open_stream(mapped)
                    batches = iter(reader)
                except pyarrow.ArrowInvalid:
                    reader = ipc.open_file(mapped)
                    batches = (reader.get_batch(i) for i in range(reader.num_record_batches))
                _check_column(reader.schema, field)
                for batch in batches:
                    column = batch.column(batch.schema.get_field_index(field))
                    for start in range(0, len(column), 64):
                        for text in _strings(column[start : start + 64]):
                            yield text, f":{(number := number + 1)}"
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise Unreadable(f"unreadable file ({error.strerror})", f"cannot be read: {error.strerror}") from error
        after = f" (after {number:,} documents)" if number else ""
        detail = f"the {kind(path)} file is damaged or cut short{after}: {str(error).splitlines()[0]}"
        raise Unreadable("damaged or truncated file", detail) from error


def _rows(file: Any) -> int:
    """How many rows of a parquet file make about 4 MiB, judged by its largest row group."""
    groups = [file.metadata.row_group(i) for i in range(file.num_row_groups)]
    return max((min(4096, max(1, group.num_rows * (4 << 20) // max(1, group.total_byte_size))) for group in groups), default=1)


def _check_column(schema: Any, field: str) -> None:
    import pyarrow.types as types

    if field not in schema.names:
        raise Unreadable(f"no field {field!r}", f"no column {field!r}; {nearest(field, schema.names)}")
    form = schema.field(field).type
    value = form.value_type if types.is_dictionary(form) else form
    if not (types.is_string(value) or types.is_large_string(value) or types.is_string_view(value) or types.is_binary(value)):
        raise Unreadable(f"field {field!r} is not text", f"column {field!r} holds {form}, which is not text")


def _strings(column: Any) -> Iterator[str]:
    for value in column:
        text = value.as_py()
        yield text.decode("utf-8") if isinstance(text, bytes) else text or ""


READERS: dict[str, Callable[[Path, str, Note], Documents]] = {
    ".jsonl": read_json_lines,
    ".ndjson": read_json_lines,
    ".json": read_json,
    ".csv": read_table,
    ".tsv": read_table,
    ".parquet": read_arrow,
    ".arrow": read_arrow,
}


def read_file(path: Path, field: str, note: Note) -> Documents:
    """The documents of one file by its suffix, each with the place in it (``:line``); ``field`` is where records have their text.

    ``note(what, documents=1, size=0, where="")`` counts what is worth a line in the table; it returns whether a record that is not
    like the others may be skipped.

    Raises:
        Unreadable: where the file, or the rest of it, gives no documents.
    """
    return READERS.get(kind(path), read_text)(path, field, note)
