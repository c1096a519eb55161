"""Images from the user's files, in folders by class or with a table of labels."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import Field

from windtunnel.core.errors import UserError, nearest
from windtunnel.data.corpus.frame import Document, StreamedSource
from windtunnel.data.corpus.listing import listed, shown
from windtunnel.data.corpus.tables import rows_of
from windtunnel.data.corpus.tally import Tally
from windtunnel.kits.image.pixels import plain_file, read_image

SUFFIXES = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm")


class ImageFolder(StreamedSource, name="image-folder"):
    """Image files in a folder, one document each, brought to one size: the shorter side is scaled, and the middle is cut out.

    The label of an image is the place of its class among all classes in the order of their names. Its class is the folder directly
    below ``path`` that it lies in (``cats/1.png``), or what the table ``labels`` says of it; images without one have no label. A file
    that is no image, is cut off, or has more pixels than Pillow opens without doubt is skipped and counted.

    Documents have ``image`` (its pixels as the bytes of a PGM or PPM file), ``label``, ``class`` and, where ``group`` names a column of the
    table, ``group``: images of one group, such as a patient or a scene, are never split. Rotations that a camera wrote into a file are
    undone. It needs Pillow.
    """

    path: str = Field(min_length=1, description="the folder; ~ is the home folder")
    size: int = Field(32, ge=1, description="pixels on a side that every image is brought to")
    channels: int = Field(3, description="1: grey, 3: colour")
    labels: str | None = Field(None, description="a CSV table in the folder with the columns file and class, and any others")
    group: str | None = Field(None, description="the column of that table that says what is never split")

    def content_fields(self) -> tuple[str, ...]:
        """The image."""
        return ("image",)

    def documents(self, tally: Tally) -> Iterator[Document]:
        """The images in the order of the names of their files.

        Raises:
            UserError: for a folder without images, a table that does not fit it, and where Pillow is missing.
        """
        if self.channels not in (1, 3):
            raise UserError(f"image-folder: channels is {self.channels}; 1 is grey and 3 is colour")
        root, files = self._files(tally)
        table = self._table(root)
        classes = {file: self._class(root, file, table) for file in files}
        numbers = {name: number for number, name in enumerate(sorted({name for name in classes.values() if name is not None}))}
        read = 0
        for file in files:
            place, name = shown(file.relative_to(root)), classes[file]
            try:
                image = read_image(file, self.size, self.channels)
            except OSError as error:
                tally.count("skipped: not an image that can be read whole", where=f"{place}: {error}")
                continue
            read += 1
            found: dict[str, Any] = {
                "image": plain_file(image),
                "label": -1 if name is None else numbers[name],
                "class": name,
                "origin": place,
            }
            if self.group is not None:
                found["group"] = table.get(file.relative_to(root).as_posix(), {}).get(self.group) or place
            if name is None:
                tally.count("without a class", where=place)
            yield found
        if not read:
            raise UserError(f"{root}: none of its {len(files):,} images can be read: {tally.summary('skipped')}")

    def signature(self) -> str:
        """A hash of the names, sizes and modification times of the files, and of the table."""
        root, files = self._files(None)
        digest = hashlib.blake2b(str(root.absolute()).encode("utf-8", "surrogateescape"), digest_size=16)
        table = [root / self.labels] if self.labels and (root / self.labels).is_file() else []
        for file in [*files, *table]:
            status = file.stat()
            digest.update(json.dumps([shown(file), status.st_size, status.st_mtime_ns]).encode())
        return digest.hexdigest()

    def _files(self, tally: Tally | None) -> tuple[Path, list[Path]]:
        root = Path(self.path).expanduser()
        if not root.is_dir():
            raise UserError(f"{root}: no such folder" if not root.exists() else f"{root}: is a file; image-folder reads a folder of images")
        found, passed = listed(root, "**/*")
        images = [file for file in found if file.suffix.lower() in SUFFIXES and not file.name.startswith(".")]
        if tally is not None:
            for what, path in passed:
                tally.count(f"skipped: {what}", where=shown(path))
            known = set(images)
            for file in found:
                if file not in known and file.name != self.labels:
                    tally.count("skipped: no image by its name", where=shown(file.relative_to(root)))
        if not images:
            raise UserError(f"{root}: holds no image; looked for files that end in {', '.join(SUFFIXES)}")
        return root, images

    def _table(self, root: Path) -> dict[str, dict[str, str]]:
        """The rows of the table by the file that each is of."""
        if self.labels is None:
            if self.group is not None:
                raise UserError("image-folder: group names a column of a table; say which under labels")
            return {}
        path = root / self.labels
        known, rows = rows_of(path, ("file", "class"))
        for column in ("file", "class", *([self.group] if self.group else [])):
            if column not in known:
                raise UserError(f"{path}: has no column {column!r}; {nearest(column, known)}")
        table: dict[str, dict[str, str]] = {}
        for row in rows:
            name = PurePosixPath(row["file"] or "").as_posix()  # ./a.png is a.png
            told = {**row, "file": name}
            if table.setdefault(name, told) != told:
                raise UserError(f"{path}: has two rows of {name!r} that differ; give every image one")
        missing = [name for name in table if not (root / name).is_file()]
        if missing:
            raise UserError(
                f"{path}: names {missing[0]!r}, which the folder does not hold ({len(missing):,} of {len(table):,} are missing)"
            )
        return table

    def _class(self, root: Path, file: Path, table: dict[str, dict[str, str]]) -> str | None:
        place = file.relative_to(root)
        if self.labels is not None:
            return table.get(place.as_posix(), {}).get("class") or None
        return place.parts[0] if len(place.parts) > 1 else None
