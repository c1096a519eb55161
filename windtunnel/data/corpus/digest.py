"""The bytes that stand for a value of a document, whatever its type: what is hashed, and how large a document is."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from windtunnel.data.corpus.fields import RESERVED, TEXT

if TYPE_CHECKING:
    import numpy as np
    import pyarrow


def value_bytes(column: pyarrow.Array) -> list[bytes | None]:
    """The bytes that stand for each value of a column of a stored type, None for null: equal values have equal bytes."""
    from pyarrow import types

    form = column.type
    if types.is_null(form):
        return [None] * len(column)
    if types.is_large_string(form) or types.is_large_binary(form):
        import pyarrow

        return column.cast(pyarrow.large_binary()).to_pylist()
    if types.is_large_list(form) or types.is_fixed_size_list(form):
        return _list_bytes(column)
    valid = column.is_valid().to_numpy(zero_copy_only=False)
    if types.is_struct(form):
        names = [_framed(field.name.encode("utf-8")) for field in form]
        rows = zip(*(value_bytes(column.field(index)) for index in range(form.num_fields)), strict=True)
        found = [b"".join(name + _framed(one) for name, one in zip(names, row, strict=True) if one is not None) for row in rows]
        return [one if there else None for there, one in zip(valid, found, strict=True)]
    if types.is_boolean(form):
        return [None if value is None else bytes([value]) for value in column.to_pylist()]
    raw, width = _raw(column)
    return [raw[row * width : (row + 1) * width] if there else None for row, there in enumerate(valid)]


def _list_bytes(column: pyarrow.Array) -> list[bytes | None]:
    """The count of each list, then its items: one after the other where all have one width, else each after its length."""
    import numpy as np
    from pyarrow import compute, types

    if (even := _even_bytes(column)) is not None:
        return [row.tobytes() for row in even]
    valid = column.is_valid().to_numpy(zero_copy_only=False)
    lengths = np.where(valid, compute.list_value_length(column).fill_null(0).to_numpy(zero_copy_only=False), 0)
    items = column.flatten()  # without those of null lists
    ends = np.cumsum(lengths)
    heads = [int(length).to_bytes(8, "little") for length in lengths]
    found: list[bytes | None]
    if types.is_primitive(items.type) and not types.is_boolean(items.type):
        raw, width = _raw(items)
        there = items.is_valid().to_numpy(zero_copy_only=False)
        if items.null_count:  # what stands where there is no value is anything
            raw = np.where(there[:, None], np.frombuffer(raw, np.uint8).reshape(-1, width), 0).astype(np.uint8).tobytes()
        found = []
        for kept, head, begin, end in zip(valid, heads, ends - lengths, ends, strict=True):
            gaps = b"" if not items.null_count or there[begin:end].all() else there[begin:end].tobytes()
            found.append(head + raw[begin * width : end * width] + gaps if kept else None)
        return found
    parts = [b"\0" if one is None else b"\1" + _framed(one) for one in value_bytes(items)]
    return [
        head + b"".join(parts[end - length : end]) if kept else None
        for kept, head, length, end in zip(valid, heads, lengths, ends, strict=True)
    ]


def _even_width(column: pyarrow.Array) -> int | None:
    """How many bytes stand for each value of a column that has no nulls, and whose lists, within lists too, have one length; else None."""
    from pyarrow import types

    form = column.type
    if column.null_count or types.is_boolean(form):
        return None
    if types.is_primitive(form):
        return int(form.bit_width // 8)
    if not (types.is_large_list(form) or types.is_fixed_size_list(form)):
        return None
    items = column.flatten()
    width, each = _even_width(items), _even_length(column)
    if width is None or each is None:
        return None
    return 8 + each * (width if types.is_primitive(items.type) else 9 + width)


def _even_length(column: pyarrow.Array) -> int | None:
    """The length that all lists of a column have, None where they differ or there are none."""
    from pyarrow import compute

    least_most = compute.min_max(compute.list_value_length(column))
    least, most = least_most["min"].as_py(), least_most["max"].as_py()
    return int(most) if least == most and most else None


def _even_bytes(column: pyarrow.Array) -> np.ndarray | None:
    """What :func:`_list_bytes` gives, uint8 [rows, bytes], where :func:`_even_width` is known, else None.

    An image has too many lists to look at each.
    """
    import numpy as np
    from pyarrow import types

    if _even_width(column) is None:
        return None
    if types.is_primitive(column.type):
        raw, width = _raw(column)
        return np.frombuffer(raw, np.uint8).reshape(-1, width)
    items, each = column.flatten(), _even_length(column)
    inner = _even_bytes(items)
    assert inner is not None and each is not None
    if not types.is_primitive(items.type):
        inner = _behind(b"\1" + inner.shape[1].to_bytes(8, "little"), inner)
    return _behind(each.to_bytes(8, "little"), inner.reshape(len(column), -1))


def _behind(head: bytes, rows: np.ndarray) -> np.ndarray:
    """Every row of bytes behind ``head``."""
    import numpy as np

    found = np.empty((len(rows), len(head) + rows.shape[1]), np.uint8)
    found[:, : len(head)], found[:, len(head) :] = np.frombuffer(head, np.uint8), rows
    return found


def _raw(column: pyarrow.Array) -> tuple[bytes, int]:
    """The values of a column of one width as bytes, one after the other, and that width."""
    width, buffer = column.type.bit_width // 8, column.buffers()[1]
    begin = column.offset * width
    return (b"" if buffer is None else memoryview(buffer)[begin : begin + len(column) * width].tobytes()), width


def _framed(data: bytes) -> bytes:
    return len(data).to_bytes(8, "little") + data


def sizes(rows: pyarrow.RecordBatch) -> np.ndarray:
    """The bytes of each document, int64 [rows]: of its text in UTF-8 where there is text, else of its other fields."""
    import numpy as np
    from pyarrow import compute

    total = np.zeros(rows.num_rows, dtype=np.int64)
    written = rows.column(TEXT) if TEXT in rows.schema.names else None
    if written is None or written.null_count:
        for name in rows.schema.names:
            if name not in RESERVED:
                column = rows.column(name)
                width = None if _is_flat(column.type) else _even_width(column)
                total += np.array([len(one or b"") for one in value_bytes(column)], dtype=np.int64) if width is None else width
    if written is None:
        return total
    length = compute.binary_length(written)
    return np.where(written.is_valid().to_numpy(zero_copy_only=False), length.fill_null(0).to_numpy(zero_copy_only=False), total)


def _is_flat(form: pyarrow.DataType) -> bool:
    """Whether values of a type hold no others."""
    return not form.num_fields


class Digest:
    """A running hash of rows, the same however they are cut into batches."""

    def __init__(self) -> None:
        self._columns: dict[str, Any] = {}

    def update(self, rows: pyarrow.RecordBatch) -> None:
        """Add rows; all batches have one schema."""
        for name in rows.schema.names:
            digest = self._columns.setdefault(name, hashlib.blake2b(digest_size=16))
            for one in value_bytes(rows.column(name)):
                digest.update(b"\0" if one is None else b"\1" + len(one).to_bytes(8, "little"))
                digest.update(one or b"")

    def hexdigest(self) -> str:
        """The hash of all rows so far."""
        return hashlib.blake2b(
            json.dumps({name: one.hexdigest() for name, one in self._columns.items()}).encode(), digest_size=16
        ).hexdigest()
