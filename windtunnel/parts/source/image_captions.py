"""Pairs of an image and its caption, from a folder of images and a table of captions."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from windtunnel.core.errors import UserError, nearest
from windtunnel.data.corpus.frame import Document, StreamedSource
from windtunnel.data.corpus.listing import listed, shown
from windtunnel.data.corpus.tables import rows_of
from windtunnel.data.corpus.tally import Tally
from windtunnel.kits.image.pixels import read_image
from windtunnel.parts.source.image_folder import SUFFIXES

if TYPE_CHECKING:
    import numpy as np


class ImageCaptions(StreamedSource, name="image-captions"):
    """Images in a folder with captions in a table, a document for each pair; images are brought to one size as ``image-folder`` does it.

    The table is CSV, TSV, JSON (a list of objects) or JSON lines, with a row for each pair: the column ``file`` names an image in the
    folder, ``caption`` says what it shows. An image may stand in several rows; its pairs are never split between training and test, nor
    are those of one value of the column ``group``. An image without a caption, a row without an image or without words, and an image that
    cannot be read whole are skipped and counted. Documents have ``image`` (rows of pixels), ``text`` (the caption) and ``group``, and with
    ``label`` the place of that column's value among all its values in their order. It needs Pillow.
    """

    path: str = Field(min_length=1, description="the folder of the images; ~ is the home folder")
    captions: str = Field(min_length=1, description="the table: its path, from the folder where it is not absolute")
    file: str = Field("file", min_length=1, description="the column that names an image, from the folder")
    caption: str = Field("caption", min_length=1, description="the column that says what it shows")
    label: str | None = Field(None, description="the column of the class of an image (default: images have none)")
    group: str | None = Field(None, description="the column of what is never split (default: the image)")
    size: int = Field(32, ge=1, description="pixels on a side that every image is brought to")
    channels: int = Field(3, description="1: grey, 3: colour")

    def content_fields(self) -> tuple[str, ...]:
        """Image and caption."""
        return ("image", "text")

    def documents(self, tally: Tally) -> Iterator[Document]:
        """The pairs in the order of the table.

        Raises:
            UserError: for a folder or a table that is not there or does not fit, where nothing is left, and where Pillow is missing.
        """
        if self.channels not in (1, 3):
            raise UserError(f"image-captions: channels is {self.channels}; 1 is grey and 3 is colour")
        root, rows = self._root(), self._rows()
        names = sorted({_said(row[self.label]) for row in rows} - {""}) if self.label else []
        labels = {name: number for number, name in enumerate(names)}
        whole: dict[str, bool] = {}  # by name, whether an image could be read; of images alone the last is kept
        last, image = "", None
        given = 0
        for row in rows:
            name, caption = _said(row[self.file]), " ".join(_said(row[self.caption]).split())
            where = shown(Path(name or "a row without a name"))
            if not caption:
                tally.count("skipped: no caption", where=where)
                continue
            if name != last and whole.get(name, True):
                image = _pixels(root / name, self.size, self.channels, tally, where) if name else None
                last, whole[name] = name, image is not None
            if not whole.get(name):
                tally.count("skipped: caption without an image", where=f"{where}: {caption[:60]}")
                continue
            given += 1
            found: dict[str, Any] = {"image": image, "text": caption, "origin": where}
            found["group"] = _said(row[self.group]) or name if self.group else name
            if self.label:
                found["label"] = labels.get(_said(row[self.label]), -1)
            yield found
        for file in listed(root, "**/*")[0]:
            if file.suffix.lower() in SUFFIXES and file.relative_to(root).as_posix() not in whole:
                tally.count("skipped: image without a caption", where=shown(file.relative_to(root)))
        if not given:
            raise UserError(f"{root}: no pair of an image and a caption in {len(rows):,} rows: {tally.summary('skipped')}")

    def signature(self) -> str:
        """A hash of the table, and of the names, sizes and modification times of the images that it names."""
        root, table = self._root(), self._table()
        digest = hashlib.blake2b(table.read_bytes(), digest_size=16)
        for name in sorted({_said(row[self.file]) for row in self._rows()}):
            file = root / name
            status = file.stat() if name and file.is_file() else None
            digest.update(json.dumps([name, status and status.st_size, status and status.st_mtime_ns]).encode())
        return digest.hexdigest()

    def _root(self) -> Path:
        root = Path(self.path).expanduser()
        if not root.is_dir():
            raise UserError(f"{root}: is a file, not a folder of images" if root.exists() else f"{root}: no such folder")
        return root

    def _table(self) -> Path:
        table = self._root() / Path(self.captions).expanduser()
        if not table.is_file():
            raise UserError(f"{table}: no such table of captions; a path that is not absolute begins at the folder of images")
        return table

    def _rows(self) -> list[Mapping[str, Any]]:
        """The rows of the table. Raises UserError where it is none, or lacks a column."""
        path = self._table()
        try:
            if path.suffix.lower() == ".json":
                rows = json.loads(path.read_text(encoding="utf-8-sig"))
            elif path.suffix.lower() in (".jsonl", ".ndjson"):
                rows = [json.loads(line) for line in path.read_text(encoding="utf-8-sig").split("\n") if line.strip()]
            else:
                rows = rows_of(path, (self.file, self.caption))[1]
        except (OSError, ValueError) as error:
            raise UserError(f"{path}: cannot be read as a table: {error}") from error
        if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
            raise UserError(f"{path}: a table of captions is a list of rows with named columns, at least one")
        for number, row in enumerate(rows, 1):
            if None in row:
                raise UserError(f"{path}: row {number} has more fields than the heading; put captions with commas in quotes")
        known = set().union(*rows)
        for column in (self.file, self.caption, *(name for name in (self.label, self.group) if name)):
            if column not in known:
                raise UserError(f"{path}: has no column {column!r}; {nearest(column, known)}")
        return [dict.fromkeys(known) | row for row in rows]


def _said(value: Any) -> str:
    """A field as text; empty where there is nothing. The number 0 is something."""
    return "" if value is None else str(value)


def _pixels(file: Path, size: int, channels: int, tally: Tally, where: str) -> np.ndarray | None:
    """The image in ``file`` as rows of pixels; None where there is none, which is counted unless the file is not there."""
    if not file.is_file():
        return None
    try:
        return read_image(file, size, channels)
    except OSError as error:
        tally.count("skipped: not an image that can be read whole", where=f"{where}: {error}")
        return None
