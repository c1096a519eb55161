"""Documents out of JSON: one record a line, or one after the other."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from windtunnel.core.errors import nearest
from windtunnel.data.corpus.columns import Columns, Documents, Note
from windtunnel.data.corpus.fields import GROUP, TEXT, as_text
from windtunnel.data.corpus.opened import CHUNK, Unreadable, kind, opened_as_utf8
from windtunnel.data.corpus.written import CHATS, chat_text, is_chat, is_empty_chat


def read_json(path: Path, columns: Columns, note: Note) -> Documents:
    """One JSON object (or string) a line, or an array of them, or one after the other; never more than one in memory.

    In UTF-8, which JSON is, unless another encoding was given or a byte order mark says UTF-16 or UTF-32, as Windows writes.

    A value that is an object, or a list that holds one, is kept as JSON text, because its keys may be others in every record.
    """
    read = 0
    for record, number in json_records(path, columns.encoding):
        try:
            yield _row(record, columns, f"line {number}"), f":{number}"
            read += 1
        except Unreadable as error:
            # A record unlike the others is counted; a file whose first record is no good, or a file named alone, is refused.
            if not read or not note("skipped: record, " + error.what, where=error.detail):
                raise


def _row(record: Any, columns: Columns, where: str) -> dict[str, Any]:
    """The fields of one JSON record."""
    if isinstance(record, Unreadable):
        raise record
    text = columns.text
    if isinstance(record, str) and text is not None and not columns.template:
        return {TEXT: record}
    if not isinstance(record, dict):
        what, wanted = ("record", "an object") if text is None else (f"field {text!r}", f"an object with the field {text!r}")
        raise Unreadable(f"no {what}", f"{where}: expected {wanted}, got {type(record).__name__}")
    if isinstance(record, Repeated):
        raise Unreadable("a field twice", f"{where}: field {record.name!r} occurs twice, so it cannot be told which value is meant")
    text = next((name for name in columns.spare(record) if is_chat(record[name]) or is_empty_chat(record[name])), text)
    missing = columns.missing(record) if text == columns.text else None
    if missing is not None:
        raise Unreadable(f"no field {missing!r}", f"{where}: no field {missing!r}; {nearest(missing, map(str, record))}")
    if columns.template:
        text = None
    kept = columns.kept(record, text)
    row = {ours: as_text(record[their]) if _holds_object(record[their]) else record[their] for their, ours in kept.items() if ours != TEXT}
    if columns.template:
        row[TEXT] = columns.template.write(record)
    elif text is not None:
        row[TEXT] = _text(record[text], text, where)
    if columns.group is not None:
        row[GROUP] = as_text(record.get(columns.group))
    return row


def _text(value: Any, name: str, where: str) -> str:
    if is_chat(value):
        return chat_text(value)
    if is_empty_chat(value) and name in CHATS:
        return ""
    if not isinstance(value, str | None):
        raise Unreadable(f"field {name!r} is not text", f"{where}: field {name!r} holds {json.dumps(value)[:40]}, which is not text")
    return value or ""


class Repeated(dict[str, Any]):
    """A JSON object in which a name occurs twice. JSON allows it, and readers differ in which value they take."""

    name: str


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    names = [name for name, _ in pairs]
    repeated = Repeated(found)
    repeated.name = next(name for name in names if names.count(name) > 1)
    return repeated


def _number(digits: str) -> int | str:
    """A whole number; one of more digits than Python turns into numbers stays text."""
    try:
        return int(digits)
    except ValueError:
        return digits


_DECODER = json.JSONDecoder(object_pairs_hook=_object)
_SLOWLY = json.JSONDecoder(object_pairs_hook=_object, parse_int=_number)  # by a function of Python for every number


def _value(text: str, place: int) -> tuple[Any, int]:
    """The JSON value that begins at ``place``, and where it ends. Raises JSONDecodeError."""
    try:
        return _DECODER.raw_decode(text, place)
    except json.JSONDecodeError:
        raise
    except ValueError:
        return _SLOWLY.raw_decode(text, place)


def _loads(text: str) -> Any:
    """The JSON value that is the whole of ``text``. Raises JSONDecodeError."""
    try:
        return _DECODER.decode(text)
    except json.JSONDecodeError:
        raise
    except ValueError:
        return _SLOWLY.decode(text)


def _holds_object(value: Any) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and any(_holds_object(one) for one in value))


def json_records(path: Path, encoding: str | None = None) -> Iterator[tuple[Any, int]]:
    """The records of a JSON file, each with the line it begins on; for a line that is none, what is wrong with it."""
    whole = kind(path) == ".json" or _spans_lines(path, encoding)
    return (_json_values if whole else _json_lines)(path, encoding)


def _spans_lines(path: Path, encoding: str | None) -> bool:
    """Whether what is called JSON lines is one array, or records that go on over several lines, judged by the first of them."""
    with opened_as_utf8(path, encoding) as file:
        line = next((line for line in file if line.strip()), b"").strip()
    try:
        first = _loads(line.decode("utf-8-sig"))
    except json.JSONDecodeError as error:
        return error.pos >= len(error.doc)  # it is right as far as it goes
    except (UnicodeDecodeError, RecursionError):
        return False
    return isinstance(first, list) and bool(first) and isinstance(first[0], dict)


def _json_lines(path: Path, encoding: str | None) -> Iterator[tuple[Any, int]]:
    with opened_as_utf8(path, encoding) as file:
        for number, line in enumerate(file, 1):
            where = f"line {number}"
            try:
                text = line.decode("utf-8").removeprefix("\ufeff")  # also further down, where files were joined
                if not text.strip():
                    continue
                record = _loads(text)
            except UnicodeDecodeError as error:
                detail = f"{where}: byte {error.start} (0x{line[error.start]:02x}) is not valid UTF-8"
                yield Unreadable("not valid UTF-8", detail), number
                continue
            except (ValueError, RecursionError) as error:
                yield Unreadable("not valid JSON", f"{where}: not valid JSON: {error}"), number
                continue
            del line, text
            yield record, number
            del record


_GAP = re.compile(r"[\s,\ufeff]*")


def _json_values(path: Path, encoding: str | None) -> Iterator[tuple[Any, int]]:
    """The elements of the outermost array, or the values at the top of the file, each with the line it begins on."""
    text, place, line, inside, want = "", 0, 1, False, CHUNK
    with opened_as_utf8(path, encoding) as raw:
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
                        value, stop = _value(text, place)
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
                        yield _value(text, place)[0], line
                    return
                text, place = text[place:] + more, 0
        except UnicodeDecodeError as error:
            raise Unreadable("not valid UTF-8", f"not valid UTF-8 after line {line}: {error.reason}") from error
        except RecursionError as error:
            raise Unreadable("not valid JSON", f"line {line}: nested too deeply") from error
