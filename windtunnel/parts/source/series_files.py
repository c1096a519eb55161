"""Series in the user's files: long or wide tables, one or a folder of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from pydantic import Field

from windtunnel.core.errors import UserError
from windtunnel.data.corpus.frame import Document, StreamedSource
from windtunnel.data.corpus.listing import listed, shown
from windtunnel.data.corpus.tables import arrow_of
from windtunnel.data.corpus.tally import Tally
from windtunnel.kits.series.tables import SUFFIXES, SeriesColumns, document, series_of


class SeriesFiles(StreamedSource, name="series-files"):
    """Series in tables (.csv, .tsv, .parquet): one table, or a folder of them.

    A long table has a row for each value, with the columns ``id``, ``time`` and ``value`` (other names can be said). A table without the
    column ``id`` is a wide one: a row for each time, and every column of numbers is a series; those of one file are never split.
    Documents have ``values`` (float64, NaN in gaps), ``frequency``, ``period`` (steps in a season), ``start`` and ``group``.

    Times are dates or numbers, in any order; the step is the most frequent distance between neighbours. A step without a value is a gap,
    and counted. A series whose times lie on no grid, because their steps have several lengths, and one of fewer than two values are
    skipped and counted; a constant one is kept and counted. A file that is no such table is skipped and counted in a folder, and refused
    where it is named alone. A channel is a series of its own.
    """

    path: str = Field(min_length=1, description="a table or a folder of tables; ~ is the home folder", examples=["~/meters.csv"])
    id: str = Field("id", min_length=1, description="the column that names the series of a value")
    time: str = Field("time", min_length=1, description="the column that holds the times")
    value: str | None = Field("value", min_length=1, description="the column that holds the values; without it every column of numbers")
    group: str | None = Field(None, description="the column that says what is never split, such as a customer (default: series, or file)")
    period: int | None = Field(None, ge=1, description="steps in a season of every series (default: by the step: 24 for hours and so on)")

    def content_fields(self) -> tuple[str, ...]:
        """The values and when they begin."""
        return ("values", "start")

    def documents(self, tally: Tally) -> Iterator[Document]:
        """The series in the order of the files.

        Raises:
            UserError: where no series can be read.
        """
        root, files = self._files()
        columns = SeriesColumns(self.id, self.time, self.value, self.group)
        read = 0
        for file in files:
            where = shown(file.relative_to(root)) if file != root else file.name
            try:
                for name, group, times, values in series_of(arrow_of(file), columns, where, tally):
                    label = f"{where}: {name}" if len(files) > 1 else name
                    found = document(label, group, times, values, tally, self.period)
                    if found is not None:
                        read += 1
                        yield found
            except UserError as error:
                if file == root:
                    raise
                tally.count("skipped: no table of series", where=str(error))
        if not read:
            raise UserError(f"{root}: holds no series that can be read: {tally.summary('skipped') or 'no table has a row'}")

    def signature(self) -> str:
        """A hash of the names, sizes and modification times of the files."""
        digest = hashlib.blake2b(digest_size=16)
        for file in self._files()[1]:
            status = file.stat()
            digest.update(json.dumps([shown(file), status.st_size, status.st_mtime_ns]).encode())
        return digest.hexdigest()

    def _files(self) -> tuple[Path, list[Path]]:
        root = Path(self.path).expanduser()
        if root.is_file():
            return root, [root]
        if not root.is_dir():
            raise UserError(f"{root}: no such file or folder")
        files = [file for file in listed(root, "**/*")[0] if file.suffix.lower() in SUFFIXES and not file.name.startswith(".")]
        if not files:
            raise UserError(f"{root}: holds no table; looked for files that end in {', '.join(SUFFIXES)}")
        return root, files
