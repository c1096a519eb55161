"""Documents out of CSV and TSV."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from windtunnel.core.errors import UserError, nearest
from windtunnel.data.corpus.columns import Columns, Documents, Note
from windtunnel.data.corpus.fields import GROUP, TEXT
from windtunnel.data.corpus.opened import CHUNK, Unreadable, encoding_of, kind, opened, opened_as_utf8, telling_line

if TYPE_CHECKING:
    import pyarrow

_COMMA = re.compile(r"-?\d+,\d+")  # a number as most of Europe writes it
_SEPARATOR = re.compile(r'"?sep=(.)"?\s*$')  # a first line in which Excel is told it


def read_table(path: Path, columns: Columns, note: Note) -> Documents:
    """CSV or TSV with a header line, in any encoding; all values are text.

    The separator is the one with which the header has the fields of the text, else the one that gives most columns. A row that is no row of
    this table (more fields than the header, quotes that do not fit) is counted where others are like the header, else refused.
    """
    encoding, names, mark = header_of(path, columns.needed, columns.encoding or _late_encoding(path))
    places = _places(names, columns, note)
    if encoding not in ("utf-8-sig", "ascii"):
        with opened(path) as raw:
            telling = telling_line(raw.read(CHUNK).decode(encoding, "replace"))
        note(f"decoded from {encoding}", where=telling)
    with opened(path) as raw:
        rows = csv.reader(io.TextIOWrapper(raw, encoding=encoding, newline=""), delimiter=mark, strict=True)
        header = True
        while True:
            line = rows.line_num + 1
            try:
                row = next(rows)
                if header:
                    header = not any(row) or row[:1] in (["sep="], [f"sep={mark}"])
                    continue
                if any(row[len(names) :]):  # empty ones are those of a separator at the end of every line
                    detail = f"{len(row)} fields, and the header has {len(names)}; a text with {mark!r} in it stands between quotes"
                    raise Unreadable("more fields than the header", f"line {line}: {detail}")
            except StopIteration:
                return
            except UnicodeDecodeError as error:
                detail = f"after line {line}: not valid {encoding}: {error.reason}; say which encoding it is, such as encoding: cp1252"
                raise Unreadable("not valid text in any encoding", detail) from error
            except csv.Error as error:
                _skip(Unreadable("not valid CSV", f"line {line}: not valid CSV: {error}"), note)
                continue
            except Unreadable as problem:
                _skip(problem, note)
                continue
            found: dict[str, Any] = {ours: row[place] if place < len(row) else None for ours, place in places.items()}
            if columns.template:
                found[TEXT] = columns.template.write(dict(zip(names, row, strict=False)))
            elif columns.text is not None:
                found[TEXT] = found[TEXT] or ""
            yield found, f":{rows.line_num}"


def _skip(problem: Unreadable, note: Note) -> None:
    """Count a row that is none of this table; where the file is named alone it is refused."""
    if not note("skipped: record, " + problem.what, where=problem.detail):
        raise problem


def _places(names: list[str], columns: Columns, note: Note) -> dict[str, int]:
    """Where the fields of a document stand in a row."""
    missing = columns.missing(names)
    if not names or missing is not None:
        wanted = missing or TEXT
        raise Unreadable(f"no field {wanted!r}", f"line 1: the header has no column {wanted!r}; {nearest(wanted, names)}")
    kept = columns.once(names, note, None if columns.template else columns.text)
    places = {ours: names.index(their) for their, ours in kept.items()}
    if columns.group in names:
        places[GROUP] = names.index(columns.group)
    return places


def _late_encoding(path: Path) -> str | None:
    """The encoding of a table whose first letters that are not ASCII come late; None where its beginning has some, or there are none."""
    with opened(path) as raw:
        piece = raw.read(CHUNK >> 2)
        if not piece.isascii() or b"\0" in piece:
            return None
        while piece.isascii():
            piece = raw.read(CHUNK)
            if not piece:
                return None
        return encoding_of(piece[: piece.rfind(b"\n") + 1] or piece)


def rows_of(path: Path, wanted: tuple[str, ...]) -> tuple[list[str], list[dict[Any, Any]]]:
    """The columns of a small table, CSV or TSV, and its rows by column, in any encoding and with the separator that it has.

    Values are text. Where a row has more fields than the header these stand under None; what it lacks is None.

    Raises:
        UserError: where it is not there or cannot be read. Columns of ``wanted`` may be missing.
    """
    if not path.exists():
        beside = [file.name for file in path.parent.glob("*") if file.suffix in (".csv", ".tsv")]
        raise UserError(f"{path}: no such file" + (f"; {nearest(path.name, beside)}" if beside else ""))
    try:
        encoding, names, mark = header_of(path, wanted)
        with opened(path) as raw:
            lines = csv.reader(io.TextIOWrapper(raw, encoding=encoding, newline=""), delimiter=mark)
            next(line for line in lines if any(line) and line[:1] not in (["sep="], [f"sep={mark}"]))
            rows = [line for line in lines if line]
    except StopIteration:
        return [], []
    except (OSError, UnicodeDecodeError, csv.Error, Unreadable) as error:
        raise UserError(f"{path}: cannot be read as a table: {error}") from error
    found = []
    for row in rows:
        more = row[len(names) :]
        fields: dict[Any, Any] = dict.fromkeys(names) | dict(zip(names, row, strict=False))
        found.append(fields | {None: more} if any(more) else fields)
    return names, found


def arrow_of(path: Path) -> pyarrow.Table:
    """A table of numbers and words, CSV, TSV or Parquet, read whole; the separator and the sign before decimals are those that it has.

    Raises:
        UserError: where it cannot be read.
    """
    import pyarrow
    from pyarrow import csv as arrow_csv
    from pyarrow import parquet

    try:
        if kind(path) == ".parquet":
            return parquet.read_table(path)
        encoding, _, mark = header_of(path, ())
        with opened_as_utf8(path, encoding) as raw:
            lines = raw.read(CHUNK >> 4).decode("utf-8", "replace").splitlines()
        above = next((number for number, line in enumerate(lines) if line.strip("\t,;| ") and not _SEPARATOR.match(line)), 0)
        commas = mark != "," and any(_COMMA.fullmatch(cell.strip()) for line in lines[1:100] for cell in line.split(mark))
        read, form = arrow_csv.ReadOptions(skip_rows=above), arrow_csv.ParseOptions(delimiter=mark)
        values = arrow_csv.ConvertOptions(strings_can_be_null=True, decimal_point="," if commas else ".")
        with opened_as_utf8(path, encoding) as raw:
            return arrow_csv.read_csv(raw, read_options=read, parse_options=form, convert_options=values)
    except (OSError, UnicodeDecodeError, csv.Error, Unreadable, pyarrow.ArrowException) as error:
        raise UserError(f"{path}: cannot be read as a table: {' '.join(str(error).split())[:200]}") from error


def header_of(path: Path, wanted: tuple[str, ...], encoding: str | None = None) -> tuple[str, list[str], str]:
    """The encoding of a CSV file, the names of its columns, and what separates them."""
    csv.field_size_limit((1 << 31) - 1)
    with opened(path) as raw:
        head = raw.read(CHUNK >> 2)
    encoding = encoding or encoding_of(head[: head.rfind(b"\n") + 1] or head)
    encoding = "utf-8-sig" if encoding == "utf-8" else encoding
    with opened(path) as raw:
        try:
            head_lines = io.TextIOWrapper(raw, encoding=encoding, newline="").read(CHUNK >> 4).splitlines(keepends=True)
        except UnicodeError as error:
            raise Unreadable(f"not valid {encoding}", f"is not {encoding}: {error}") from error
    while head_lines and not head_lines[0].strip("\t,;| \r\n"):  # what spreadsheets leave above a table
        del head_lines[0]
    separators = "\t,;|" if kind(path) == ".tsv" else ",;\t|"
    said = _SEPARATOR.match(head_lines[0]) if head_lines else None
    if said is not None:
        separators, head_lines = said[1], head_lines[1:]
    names = {mark: next(csv.reader(head_lines, delimiter=mark), []) for mark in separators}
    most = max(names, key=lambda mark: len(names[mark]))
    mark = next((mark for mark, columns in names.items() if wanted and {*wanted} <= {*columns}), most)
    # Tables are often written with a first column of row numbers, which has no name.
    return encoding, [name or f"column {place}" for place, name in enumerate(names[mark], 1)], mark
