"""Episodes in the user's tables."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from windtunnel.core.errors import UserError, nearest
from windtunnel.data.corpus.frame import Document, StreamedSource
from windtunnel.data.corpus.listing import listed, shown
from windtunnel.data.corpus.tables import arrow_of
from windtunnel.data.corpus.tally import Tally

SUFFIXES = (".parquet", ".csv", ".tsv", ".npz")
HIGHEST = 32767  # of codes and actions, which the encoding keeps in 16 bits
ENDS = {"true": True, "yes": True, "1": True, "1.0": True} | {"false": False, "no": False, "0": False, "0.0": False, "none": False}


class EpisodeFiles(StreamedSource, name="episode-files"):
    """Episodes in tables (.parquet, .csv, .npz), one row a step: which episode it is of, what was seen, and what was done.

    An observation is a list of whole numbers from 0 in one column, or each of its places is a column of its own (``observation`` names
    several). The columns of .npz are its arrays, with steps as their first axis. Steps stand in their order; episodes may be mixed.
    ``action`` is a whole number from 0. With ``done`` (true or false, 1 or 0, yes or no) the last step of an episode says that it ended:
    one without an end is kept and counted, and what follows an end is another episode, which is counted too. An episode whose numbers are
    no whole ones from 0 to 32767, whose observations are of several lengths, or that sees nothing is skipped and counted. What ``group``
    names (an operator, a goal) is never split.
    """

    path: str = Field(min_length=1, description="a table or a folder of tables; ~ is the home folder", examples=["~/episodes.parquet"])
    episode: str | None = Field(
        "episode", min_length=1, description="the column that says which episode a step is of; null: one begins after each end (`done`)"
    )
    observation: tuple[str, ...] = Field(
        ("observation",), min_length=1, description="the columns that hold what was seen", examples=[["x", "y"]]
    )
    action: str = Field("action", min_length=1, description="the column that holds what was done")
    done: str | None = Field(None, description="the column that says whether the episode ended with this step", examples=["done"])
    group: str | None = Field(None, description="the column that says what is never split (default: the episode)", examples=["operator"])

    @model_validator(mode="after")
    def _ends(self) -> EpisodeFiles:
        if self.episode is None and self.done is None:
            raise ValueError("`episode: null` needs `done`, the column that says where an episode ends")
        return self

    def content_fields(self) -> tuple[str, ...]:
        """Observations and actions."""
        return ("observation", "action")

    def documents(self, tally: Tally) -> Iterator[Document]:
        """The episodes of each table in the order in which they begin.

        Raises:
            UserError: for a table without the columns, and where no episode can be read.
        """
        read = 0
        root = Path(self.path).expanduser()
        for file in self._files():
            where = shown(file.relative_to(root)) if file != root else file.name  # the same wherever the folder lies
            table = _arrays(file) if file.suffix.lower() == ".npz" else arrow_of(file)
            wanted = [name for name in (self.episode, *self.observation, self.action, self.done, self.group) if name]
            for name in wanted:
                if name not in table.column_names:
                    raise UserError(f"{file}: has no column {name!r}; {nearest(name, table.column_names)}")
            episodes: dict[Any, list[dict[str, Any]]] = {}
            for row in table.select(dict.fromkeys(wanted)).to_pylist():
                episodes.setdefault(row[self.episode] if self.episode else "", []).append(row)
            for name, steps in episodes.items():
                origin = f"{where}: {name}" if self.episode else where
                for place, some in enumerate(self._parted(steps, origin), start=1):
                    if place == 2 and self.episode:
                        tally.count("episode that goes on after its end: parted there", where=origin)
                    found = self._episode(origin if place == 1 else f"{origin}, part {place}", some, tally)
                    if found is not None:
                        read += 1
                        yield found
        if not read:
            raise UserError(f"{self.path}: holds no episode that can be read: {tally.summary('skipped')}")

    def _parted(self, steps: list[dict[str, Any]], origin: str) -> Iterator[list[dict[str, Any]]]:
        """``steps`` up to each end, and what is left behind the last; ``done`` becomes whether the episode ends there."""
        some: list[dict[str, Any]] = []
        for step in steps:
            if self.done is not None:
                word = str(step[self.done]).strip().lower()
                if word not in ENDS:
                    raise UserError(f"{origin}: column {self.done!r} holds {word!r}; an episode ends or not: true or false, 1 or 0")
                step[self.done] = ENDS[word]
            some.append(step)
            if self.done is not None and step[self.done]:
                yield some
                some = []
        if some:
            yield some

    def _episode(self, origin: str, steps: list[dict[str, Any]], tally: Tally) -> dict[str, Any] | None:
        seen = [[one for name in self.observation for one in _listed(step[name])] for step in steps]
        done = [step[self.action] for step in steps]
        if not all(isinstance(one, int) and 0 <= one <= HIGHEST for one in (*done, *(code for step in seen for code in step))):
            tally.count(f"skipped: numbers that are no whole ones from 0 to {HIGHEST}", where=origin)
            return None
        if not all(seen):
            tally.count("skipped: observations without a code", where=origin)
            return None
        if len({len(step) for step in seen}) > 1:
            tally.count("skipped: observations of several lengths", where=origin)
            return None
        if self.done is not None and not steps[-1][self.done]:
            tally.count("episode without an end: kept", where=origin)
        group = str(steps[0][self.group]) if self.group else origin
        return {"observation": seen, "action": done, "origin": origin, "group": group}

    def signature(self) -> str:
        """A hash of the names, sizes and modification times of the files."""
        digest = hashlib.blake2b(digest_size=16)
        for file in self._files():
            status = file.stat()
            digest.update(json.dumps([shown(file), status.st_size, status.st_mtime_ns]).encode())
        return digest.hexdigest()

    def _files(self) -> list[Path]:
        root = Path(self.path).expanduser()
        if root.is_file():
            return [root]
        files = [file for file in listed(root, "**/*")[0] if file.suffix.lower() in SUFFIXES] if root.is_dir() else []
        if not files:
            raise UserError(f"{root}: no such table, nor a folder with one ({', '.join(SUFFIXES)})")
        return files


def _arrays(file: Path) -> Any:
    """The arrays of an .npz file as the columns of a table, whole numbers as such; those of another length than most are left out."""
    import numpy as np
    import pyarrow

    try:
        with np.load(file, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise UserError(f"{file}: cannot be read as arrays: {error}") from error
    lengths = [len(array) for array in arrays.values() if array.ndim]
    steps = max(set(lengths), key=lengths.count, default=0)
    found = {}
    for name, array in arrays.items():
        if array.ndim == 0 or len(array) != steps:
            continue
        if array.dtype.kind == "f" and (array == np.round(array)).all():
            array = array.astype(np.int64)
        found[name] = array.reshape(steps, -1).tolist() if array.ndim > 1 else array.tolist()
    return pyarrow.table(found)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
