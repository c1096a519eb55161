"""Curators that judge documents one at a time, and how any curator is asked what stays, what goes and why.

Daft 0.7.26 computes a DataFrame faster than its rows are taken, and does not wait. So what can be judged batch by batch is, here, which
holds some numbers for each document, never its text; through :meth:`Judge.curate` the same code runs in Daft, for example on a Ray cluster.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from windtunnel.core.errors import PartError
from windtunnel.core.part import required
from windtunnel.data.corpus.digest import sizes
from windtunnel.data.corpus.fields import ORIGIN, SOURCE, TEXT, text_of
from windtunnel.data.corpus.frame import batches, engine, frame, streamed_rows
from windtunnel.data.corpus.victims import schema
from windtunnel.slots import Curator, CuratorContext
from windtunnel.slots.curator import REMOVED, ROW

if TYPE_CHECKING:
    import daft
    import numpy as np
    import pyarrow

BEGINNING = 300  # characters of a removed document that are kept with the reason

Reasons = Sequence[str | None]
Make = Callable[[], Iterator["pyarrow.RecordBatch"]]


class Judge(Curator):
    """A curator that judges documents one at a time; one that ``scans`` does so after a look at all of them.

    Where it scans, :meth:`scan` says of each batch what deciding needs, :meth:`decide` makes of all that what judging needs, and
    :meth:`judge` is handed it. All three pass arrays by name, which are kept on the disk: an interrupted curation goes on from there. Only
    :meth:`decide` is given a context.
    """

    scans: ClassVar[bool] = False

    def scan(self, documents: pyarrow.RecordBatch) -> dict[str, np.ndarray]:
        """What :meth:`decide` needs to know of ``documents``."""
        raise NotImplementedError

    def decide(self, scans: Sequence[Mapping[str, np.ndarray]], context: CuratorContext) -> dict[str, np.ndarray]:
        """What :meth:`judge` needs to know, of the ``scans`` of all documents in order; their arrays may lie on the disk."""
        raise NotImplementedError

    @required
    def judge(self, documents: pyarrow.RecordBatch, found: Mapping[str, np.ndarray]) -> tuple[pyarrow.RecordBatch, Reasons]:
        """``documents``, their fields perhaps changed, and for each the reason why it is removed, ``rule: detail``; None where it stays."""
        raise NotImplementedError

    def judged(self, documents: pyarrow.RecordBatch) -> list[int]:
        """The rows that have a text and are of the knob ``sources``, if there is one and it names any."""
        sources = set(getattr(self, "sources", ()))
        names = documents.column(SOURCE).to_pylist() if sources else []
        return [row for row, text in enumerate(text_of(documents)) if text is not None and (not sources or names[row] in sources)]

    def curate(self, documents: daft.DataFrame, context: CuratorContext) -> daft.DataFrame:
        """The same through Daft, which may run it on many machines."""
        daft = engine()
        found = self.decide([self.scan(batch) for batch in batches(streamed_rows(documents))], context) if self.scans else {}
        read = [name for name in (ROW, TEXT, ORIGIN, SOURCE) if name in documents.column_names]
        text = daft.DataType.string()

        @daft.func.batch(return_dtype=daft.DataType.struct({TEXT: text, REMOVED: text}), use_process=False)
        def judged(*columns: Any) -> Any:
            import pyarrow

            rows = pyarrow.record_batch({name: column.to_arrow() for name, column in zip(read, columns, strict=True)})
            after, reasons = self.judge(rows, found)
            return pyarrow.array(
                [{TEXT: one, REMOVED: reason} for one, reason in zip(text_of(after), reasons, strict=True)],
                pyarrow.struct([(TEXT, pyarrow.large_string()), (REMOVED, pyarrow.large_string())]),
            )

        answer = documents.with_column(REMOVED, judged(*(daft.col(name) for name in read)))
        if TEXT in read:
            answer = answer.with_column(TEXT, daft.col(REMOVED)[TEXT])
        return answer.with_column(REMOVED, daft.col(REMOVED)[REMOVED])


def replaced(rows: pyarrow.RecordBatch, fields: Mapping[str, Sequence[Any]]) -> pyarrow.RecordBatch:
    """``rows`` with other values in some of the ``fields`` that they have, under the same types."""
    import pyarrow

    for name, values in fields.items():
        place = rows.schema.get_field_index(name)
        if place >= 0:
            rows = rows.set_column(place, name, pyarrow.array(values, rows.schema.field(place).type))
    return rows


class Verdicts(NamedTuple):
    """What became of a batch: the documents that stay, without the columns of the contract, and ``victims`` as :func:`victims` has them."""

    documents: pyarrow.RecordBatch
    victims: pyarrow.RecordBatch | None


def curated(curator: Curator, context: CuratorContext, documents: Make, columns: pyarrow.Schema, scratch: Path) -> Iterator[Verdicts]:
    """What ``curator`` makes of ``documents``, which have these ``columns``, with ``source`` and numbered in ``#``.

    ``documents`` is called for each pass; ``scratch`` is a folder for what scanning finds.

    Raises:
        PartError: where what the curator returns is no longer a table of documents.
    """
    if isinstance(curator, Judge):
        found = decided(curator, context, (scanned(curator, batch, scratch / f"{n}") for n, batch in enumerate(documents())), scratch)
        for batch in documents():
            yield verdicts_on(curator, batch, found)
        return
    try:
        yield from _through_daft(curator, context, documents, columns)
    except (ValueError, KeyError) as error:
        raise PartError(f"curator {curator.name!r} gave a table that is no longer one of documents: {error}") from error


def verdicts_on(curator: Judge, batch: pyarrow.RecordBatch, found: Mapping[str, np.ndarray]) -> Verdicts:
    """What ``curator`` says of one batch."""
    after, reasons = curator.judge(batch, found)
    if len(reasons) != batch.num_rows or after.num_rows != batch.num_rows:
        raise PartError(f"curator {curator.name!r} judged {len(reasons)} of {batch.num_rows} documents")
    return _parted(after, reasons, curator.name)


def _parted(rows: pyarrow.RecordBatch, reasons: Reasons, name: str) -> Verdicts:
    import pyarrow

    stays = pyarrow.array([reason is None for reason in reasons])
    bare = rows.drop_columns([column for column in (ROW, REMOVED) if column in rows.schema.names])
    kept = bare.filter(stays)
    if kept.num_rows == rows.num_rows:
        return Verdicts(bare, None)
    gone = rows.filter(pyarrow.array([reason is not None for reason in reasons]))
    return Verdicts(kept, victims(gone, [reason for reason in reasons if reason is not None], name))


def victims(rows: pyarrow.RecordBatch, reasons: Sequence[str], curator: str) -> pyarrow.RecordBatch:
    """A row for each removed document: ``curator``, ``source``, ``origin``, ``reason``, ``detail``, ``bytes`` and the ``beginning``."""
    import pyarrow

    parts = [reason.partition(": ") for reason in reasons]
    columns = {
        "curator": [curator] * len(reasons),
        "source": rows.column(SOURCE).to_pylist(),
        "origin": rows.column(ORIGIN).to_pylist(),
        "reason": [rule for rule, _, _ in parts],
        "detail": [detail for _, _, detail in parts],
        "bytes": sizes(_documents(rows)),
        "beginning": [None if one is None else one[:BEGINNING] for one in text_of(rows)],
    }
    return pyarrow.record_batch(columns, schema=schema())


def _documents(rows: pyarrow.RecordBatch) -> pyarrow.RecordBatch:
    return rows.drop_columns([name for name in (ROW, REMOVED) if name in rows.schema.names])


# Scanning ---------------------------------------------------------------------------------------------------------------------------


def scanned(curator: Judge, batch: pyarrow.RecordBatch | None, place: Path) -> Mapping[str, np.ndarray]:
    """What ``curator`` finds in a batch, kept in files beginning with ``place`` and read from there; found there, it is not done again."""
    import numpy as np

    from windtunnel.core.files import whole

    if not curator.scans:
        return {}
    done = place.with_name(f"{place.name}.names")
    if not done.exists():
        assert batch is not None, f"{done} is not there"
        arrays = curator.scan(batch)
        for name, array in arrays.items():
            with whole(place.with_name(f"{place.name}.{name}.npy"), "wb") as file:
                np.save(file, array)
        with whole(done) as file:
            file.write("\n".join(arrays))
    return _mapped(place, done.read_text(encoding="utf-8").split())


def _mapped(place: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    import numpy as np

    found = {}
    for name in names:
        path = place.with_name(f"{place.name}.{name}.npy")
        array = np.load(path, mmap_mode="r")
        found[name] = np.load(path) if array.size < 1 << 16 else array  # a file that is mapped stays open
    return found


def by_share(scans: Sequence[Mapping[str, np.ndarray]], name: str, most: int) -> Iterator[list[np.ndarray]]:
    """The places of the hashes ``name`` in each of ``scans``, for one share of all hashes after the other, of about ``most`` each.

    Equal hashes are in one share, so what is asked of them is answered share by share, in memory that does not grow with the corpus.
    """
    import numpy as np

    count = np.uint64(max(1, -(-sum(len(scan[name]) for scan in scans) // most)))
    for share in range(int(count)):
        yield [np.flatnonzero(scan[name] % count == share) for scan in scans]


def decided(
    curator: Judge, context: CuratorContext, scans: Iterator[Mapping[str, np.ndarray]] | Sequence[Mapping[str, np.ndarray]], scratch: Path
) -> dict[str, np.ndarray]:
    """What ``curator`` decides after its scans, kept in ``scratch``."""
    if not curator.scans:
        return {}
    import numpy as np

    from windtunnel.core.files import whole

    path = scratch / "decided.npz"
    if not path.exists():
        found = curator.decide(list(scans), context)
        with whole(path, "wb") as file:
            np.savez(file, **found)  # type: ignore[arg-type]
    with np.load(path, allow_pickle=False) as stored:
        return dict(stored)


# Any curator ------------------------------------------------------------------------------------------------------------------------


def _through_daft(curator: Curator, context: CuratorContext, documents: Make, columns: pyarrow.Schema) -> Iterator[Verdicts]:
    """A curator that is handed the whole table. What it leaves out is found by the numbers that are missing, in a pass of its own."""
    import numpy as np

    answer = curator.curate(frame(documents, columns), context)
    for name in (ORIGIN, SOURCE, *([TEXT] if TEXT in columns.names else [])):
        if name not in answer.column_names:
            raise ValueError(f"no column {name!r}; the columns are {', '.join(answer.column_names)}")
    there: list[np.ndarray] = []
    for batch in batches(streamed_rows(answer)):
        if ROW in batch.schema.names:
            there.append(batch.column(ROW).drop_null().to_numpy(zero_copy_only=False))
        reasons = batch.column(REMOVED).to_pylist() if REMOVED in batch.schema.names else [None] * batch.num_rows
        yield _parted(batch, reasons, curator.name)
    if ROW not in answer.column_names:
        return
    known = np.sort(np.concatenate([np.zeros(0, np.int64), *there]))
    for batch in documents():
        rows = batch.column(ROW).to_numpy(zero_copy_only=False)
        gone = np.ones(len(rows), bool)
        if len(known):
            gone = known[np.minimum(np.searchsorted(known, rows), len(known) - 1)] != rows
        if gone.any():
            yield _parted(batch.filter(_mask(gone)), [curator.name] * int(gone.sum()), curator.name)


def _mask(values: np.ndarray) -> Any:
    import pyarrow

    return pyarrow.array(values)


def numbered(rows: Iterator[pyarrow.RecordBatch], start: int = 0) -> Iterator[pyarrow.RecordBatch]:
    """``rows`` with the column ``#``: their place among all, from ``start``."""
    import numpy as np
    import pyarrow

    for batch in rows:
        yield batch.append_column(ROW, pyarrow.array(np.arange(start, start + batch.num_rows, dtype=np.int64)))
        start += batch.num_rows


def of_source(rows: Iterator[pyarrow.RecordBatch], source: str) -> Iterator[pyarrow.RecordBatch]:
    """``rows`` with the column ``source``."""
    import pyarrow

    for batch in rows:
        yield batch.append_column(SOURCE, pyarrow.array([source] * batch.num_rows, pyarrow.large_string()))
