"""The fields of documents: their Arrow types, and what becomes of types that disagree. ``digest.py`` has the bytes of a value.

A document is a row. It has ``origin`` (text, where it came from) and any other fields: ``text``, ``image``, ``values``, a date. Where it
has ``group`` (text), documents of one group are never split.
"""

from __future__ import annotations

import base64
import itertools
import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from windtunnel.slots.curator import REMOVED, ROW

if TYPE_CHECKING:
    import pyarrow

TEXT, IMAGE, ORIGIN, GROUP, SOURCE = "text", "image", "origin", "group", "source"
RESERVED = (TEXT, ORIGIN, GROUP, SOURCE)  # ``source`` names the source where documents of several stand in one table
TAKEN = (*RESERVED, ROW, REMOVED)  # a field of one of these names gets another


# Types --------------------------------------------------------------------------------------------------------------------------


def stored(form: pyarrow.DataType) -> pyarrow.DataType:
    """The type under which values of type ``form`` are kept: one for each kind of value, with 64-bit offsets.

    64 bits, because a batch with one long document may pass 2 GiB.

    Raises:
        TypeError: for a kind that is not kept, such as a union.
    """
    import pyarrow
    from pyarrow import types

    if isinstance(form, pyarrow.BaseExtensionType):
        return stored(form.storage_type)
    if types.is_dictionary(form):
        return stored(form.value_type)
    if types.is_string(form) or types.is_large_string(form) or types.is_string_view(form):
        return pyarrow.large_string()
    if types.is_binary(form) or types.is_large_binary(form) or types.is_binary_view(form) or types.is_fixed_size_binary(form):
        return pyarrow.large_binary()
    if types.is_fixed_size_list(form):
        return pyarrow.list_(pyarrow.field("item", stored(form.value_type)), form.list_size)
    if types.is_list(form) or types.is_large_list(form):
        return pyarrow.large_list(pyarrow.field("item", stored(form.value_type)))
    if types.is_map(form):
        entry = pyarrow.struct([("key", stored(form.key_type)), ("value", stored(form.item_type))])
        return pyarrow.large_list(pyarrow.field("item", entry))
    if types.is_struct(form) and form.num_fields:
        return pyarrow.struct([pyarrow.field(field.name, stored(field.type)) for field in form])
    if types.is_float16(form):
        return pyarrow.float32()
    if types.is_null(form) or types.is_primitive(form) or types.is_decimal(form):
        return form
    raise TypeError(f"{form} is not kept")


def common(one: pyarrow.DataType, other: pyarrow.DataType) -> pyarrow.DataType | None:
    """The stored type that holds values of both, None where there is none.

    Whole numbers of several widths become the widest, whole and real numbers real ones of 64 bits, as JSON has them; lists and structs
    agree where what they hold does; text and bytes become bytes.
    """
    import pyarrow
    from pyarrow import types

    if one == other or types.is_null(other):
        return one
    if types.is_null(one):
        return other
    if types.is_integer(one) and types.is_integer(other):
        if types.is_signed_integer(one) == types.is_signed_integer(other):
            return max(one, other, key=lambda form: form.bit_width)
        return None if pyarrow.uint64() in (one, other) else pyarrow.int64()
    if all(types.is_integer(form) or types.is_floating(form) for form in (one, other)):
        return pyarrow.float64()
    if {one, other} == {pyarrow.large_string(), pyarrow.large_binary()}:
        return pyarrow.large_binary()
    if types.is_struct(one) and types.is_struct(other):
        fields = {field.name: field.type for field in one}
        for field in other:
            agreed = common(fields[field.name], field.type) if field.name in fields else field.type
            if agreed is None:
                return None
            fields[field.name] = agreed
        return pyarrow.struct(list(fields.items()))
    lists = [types.is_large_list(form) or types.is_fixed_size_list(form) for form in (one, other)]
    item = common(one.value_type, other.value_type) if all(lists) else None
    if item is None:
        return None
    if all(types.is_fixed_size_list(form) for form in (one, other)) and one.list_size == other.list_size:
        return pyarrow.list_(pyarrow.field("item", item), one.list_size)
    return pyarrow.large_list(pyarrow.field("item", item))


def widened(one: pyarrow.Schema, other: pyarrow.Schema) -> tuple[pyarrow.Schema, list[str]]:
    """The schema that holds the rows of both, and what had to become text: ``field 'id' (int64 and large_string)``.

    A field that one of them lacks is null there. Values whose types have nothing in common are kept as text: see :func:`as_text`.
    """
    import pyarrow

    types, notes = {field.name: field.type for field in one}, []
    for field in other:
        if field.name in types:
            agreed = common(types[field.name], field.type)
            if agreed is None and types[field.name] != pyarrow.large_string():
                notes.append(f"field {field.name!r} ({types[field.name]} and {field.type})")
            types[field.name] = pyarrow.large_string() if agreed is None else agreed
        else:
            types[field.name] = field.type
    return pyarrow.schema(list(types.items())), notes


def as_text(value: Any) -> str | None:
    """A value as text: itself where it is text, else as JSON (bytes in base64, times in ISO 8601); None stays None."""
    if value is None or isinstance(value, str):
        return value
    written = json.dumps(value, ensure_ascii=False, default=_plain)
    try:
        written.encode("utf-8")
    except UnicodeEncodeError:  # half of a surrogate pair somewhere in it: escaped, which loses nothing
        written = json.dumps(value, default=_plain)
    return written


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def plain_schema() -> pyarrow.Schema:
    """The fields of documents that are nothing but text."""
    import pyarrow

    return pyarrow.schema([(TEXT, pyarrow.large_string()), (ORIGIN, pyarrow.large_string())])


# Tables -------------------------------------------------------------------------------------------------------------------------


def conform(rows: pyarrow.RecordBatch, schema: pyarrow.Schema) -> pyarrow.RecordBatch:
    """``rows`` with the fields of ``schema``, which is theirs or a wider one (:func:`widened`). Fields that they lack are null."""
    import pyarrow

    if rows.schema.equals(schema):
        return rows
    columns = []
    for field in schema:
        place = rows.schema.get_field_index(field.name)
        columns.append(pyarrow.nulls(rows.num_rows, field.type) if place < 0 else _converted(rows.column(place), field.type))
    return pyarrow.record_batch(columns, schema=schema)


def _converted(column: pyarrow.Array, form: pyarrow.DataType) -> pyarrow.Array:
    import pyarrow
    from pyarrow import types

    if column.type == form:
        return column
    if types.is_large_string(form) and common(column.type, form) is None:
        return pyarrow.array([as_text(value) for value in column.to_pylist()], form)
    return column.cast(form, safe=False)


def one_batch(table: pyarrow.Table) -> pyarrow.RecordBatch:
    """A table as one batch."""
    import pyarrow

    batches = table.combine_chunks().to_batches()
    return batches[0] if batches else pyarrow.record_batch([pyarrow.nulls(0, field.type) for field in table.schema], schema=table.schema)


def from_rows(rows: Sequence[Mapping[str, Any]]) -> pyarrow.RecordBatch:
    """Documents as dictionaries in one batch, each field under the type that holds all its values (text where they have none in common).

    A field that a document lacks is null. Values are what pyarrow takes: text, numbers, bytes, dates, lists and dictionaries of them.
    """
    import pyarrow

    names = dict.fromkeys(itertools.chain.from_iterable(rows))
    return pyarrow.record_batch({name: _column(name, [row.get(name) for row in rows]) for name in names})


def _column(name: str, values: list[Any]) -> pyarrow.Array:
    import pyarrow

    if any(hasattr(value, "dtype") and getattr(value, "ndim", 0) for value in values):
        if (column := _of_arrays(values)) is not None:
            return column
        values = [value.tolist() if hasattr(value, "dtype") else value for value in values]
    try:
        column = pyarrow.array(values, pyarrow.large_string() if name in RESERVED else None)
        if "double" in str(column.type) and _has_truth(values):  # which pyarrow would take for 0 and 1 beside a real number
            raise TypeError
        column = column.cast(stored(column.type))
    except (pyarrow.ArrowException, TypeError, OverflowError, UnicodeEncodeError):
        if name == TEXT:
            raise
        if all(value is None or (isinstance(value, (int, float)) and not isinstance(value, bool)) for value in values) and any(
            isinstance(value, float) for value in values
        ):
            column = pyarrow.array([None if value is None else float(value) for value in values], pyarrow.float64())
        else:
            # What is left of half a surrogate pair cannot be stored: a question mark takes its place.
            written = [None if value is None else as_text(value).encode("utf-8", "replace").decode("utf-8") for value in values]  # type: ignore[union-attr]
            column = pyarrow.array(written, pyarrow.large_string())
    return column.combine_chunks() if isinstance(column, pyarrow.ChunkedArray) else column


def _of_arrays(values: Sequence[Any]) -> pyarrow.Array | None:
    """Arrays of numpy as lists of lists of 64-bit numbers, as ``tolist`` would give; None where they differ in kind, or one is missing.

    No Python object is made for a number, of which an image has many.
    """
    import numpy as np
    import pyarrow

    kinds = {(getattr(value, "dtype", None), getattr(value, "ndim", 0)) for value in values}
    if len(kinds) > 1 or values[0].dtype.kind not in "iuf" or values[0].dtype == np.uint64:
        return None
    wide = np.float64 if values[0].dtype.kind == "f" else np.int64
    column = pyarrow.array(np.concatenate([value.ravel() for value in values], dtype=wide))
    for depth in reversed(range(values[0].ndim)):
        lengths = np.concatenate([np.full(math.prod(value.shape[:depth]), value.shape[depth], np.int64) for value in values])
        column = pyarrow.LargeListArray.from_arrays(np.concatenate([[0], np.cumsum(lengths)]), column)
    return column


def _has_truth(values: Any) -> bool:
    if isinstance(values, Mapping):
        return _has_truth(list(values.values()))
    return isinstance(values, bool) or (isinstance(values, list) and any(map(_has_truth, values)))


def text_of(rows: pyarrow.RecordBatch) -> list[str | None]:
    """The text of each row, None where it has none."""
    place = rows.schema.get_field_index(TEXT)
    return [None] * rows.num_rows if place < 0 else rows.column(place).to_pylist()


def described(schema: pyarrow.Schema) -> dict[str, str]:
    """The fields and the spelling of their types, as they stand in a manifest."""
    return {field.name: str(field.type) for field in schema}
