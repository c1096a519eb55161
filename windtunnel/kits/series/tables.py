"""Tables of series: one row a value (series, time, value), or one row a time and one column a series."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from windtunnel.core.errors import UserError, nearest
from windtunnel.kits.series.grid import Irregular, regular

if TYPE_CHECKING:
    import pyarrow

    from windtunnel.data.corpus.tally import Tally

SUFFIXES = (".csv", ".tsv", ".parquet")
USUAL = {"id": "id", "time": "time", "value": "value"}  # names that nobody has to say, and that a wide table need not have


class SeriesColumns(NamedTuple):
    """How a table calls what it holds. ``value`` None: every column of numbers that is not another of these."""

    id: str
    time: str
    value: str | None
    group: str | None


def series_of(table: pyarrow.Table, columns: SeriesColumns, where: str, tally: Tally) -> Iterator[tuple[str, str, Any, Any]]:
    """The name, the group, the times and the values of each series of ``table``, in the order in which they first occur.

    Raises:
        UserError: for a table without times or values, or without a column that is called otherwise than usual.
    """
    import numpy as np

    names = table.column_names
    for knob, name in columns._asdict().items():
        if name not in (None, USUAL.get(knob), *names):
            raise UserError(f"{where}: has no column {name!r}, which {knob} names; {nearest(name, names)}")
    if columns.time not in names:
        raise UserError(f"{where}: has no column {columns.time!r}; {nearest(columns.time, names)}; say which one holds the times")
    wanted = [columns.value] if columns.value is not None and columns.value in names else _numbers(table, columns)
    if not wanted:
        raise UserError(f"{where}: has no column {columns.value!r} and no other of numbers; {nearest(columns.value or 'value', names)}")
    times = table.column(columns.time).to_pylist()
    groups = table.column(columns.group).to_pylist() if columns.group in names else None
    if columns.id not in names:
        for name in wanted:
            values = table.column(name).to_pylist()
            yield name, str(groups[0]) if groups else where, times, values
        return
    encoded = table.column(columns.id).combine_chunks().dictionary_encode()
    members, keys = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False), encoded.dictionary.to_pylist()
    order = np.argsort(members, kind="stable")
    ends = np.cumsum(np.bincount(members[members >= 0], minlength=len(keys)))
    if nameless := int((members < 0).sum()):
        tally.count(f"skipped: rows without a value of {columns.id!r}", nameless, where=where)
    order = order[nameless:]
    columns_of = {name: table.column(name).to_pylist() for name in wanted}
    for number, key in enumerate(keys):
        rows = order[ends[number - 1] if number else 0 : ends[number]].tolist()
        for name, values in columns_of.items():
            label = str(key) if len(wanted) == 1 else f"{key}.{name}"
            yield label, str(groups[rows[0]]) if groups else str(key), [times[row] for row in rows], [values[row] for row in rows]


def _numbers(table: pyarrow.Table, columns: SeriesColumns) -> list[str]:
    from pyarrow import types

    other = (columns.id, columns.time, columns.group)
    kinds = {field.name: field.type for field in table.schema if field.name not in other}
    return [name for name, kind in kinds.items() if types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind)]


def document(name: str, group: str, times: Any, values: Any, tally: Tally, period: int | None = None) -> dict[str, Any] | None:
    """A series as a document; None, with the reason in ``tally``, where it lies on no grid or has fewer than two values."""
    try:
        found = regular(times, values, lambda what, steps: tally.count(what, steps, where=name))
    except Irregular as error:
        what, _, detail = str(error).partition(":")
        tally.count(f"skipped: {what}", where=f"{name}{':' if detail else ''}{detail}")
        return None
    known = found.values[found.values == found.values]
    if (known == known[0]).all():
        tally.count("constant: kept, but nothing to learn from", where=name)
    return {
        "values": found.values.tolist(),
        "frequency": found.frequency,
        "period": period or found.period,
        "start": str(min(times)),
        "origin": name,
        "group": group,
    }
