"""Images in the files that MNIST and its kin come in."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from windtunnel.core.errors import UserError
from windtunnel.data.corpus.frame import Document, StreamedSource
from windtunnel.data.corpus.tally import Tally

if TYPE_CHECKING:
    import numpy as np

BATCH = 4096  # images in one table
BYTES = 8  # how a file says that its numbers are unsigned bytes


class Idx(StreamedSource, name="idx"):
    """Images in an idx file, as LeCun, Cortes and Burges gave away MNIST, with their labels in another; both may be gzipped.

    Debian's package ``dataset-fashion-mnist`` has such files under /usr/share/datasets/fashion-mnist. Documents have ``image`` (rows of
    pixels from 0 to 255) and, where ``labels`` is said, ``label``.
    """

    images: str = Field(min_length=1, description="the file of the images, such as train-images-idx3-ubyte.gz")
    labels: str | None = Field(None, min_length=1, description="the file of their labels, such as train-labels-idx1-ubyte.gz")

    def content_fields(self) -> tuple[str, ...]:
        """The image."""
        return ("image",)

    def documents(self, tally: Tally) -> Iterator[Document]:
        """The images in the order of the file.

        Raises:
            UserError: for a file that is not there, is cut off or no idx file of bytes, and where there are not as many labels as images.
        """
        import numpy as np
        import pyarrow

        images = read_idx(self.images, 3)
        labels = None if self.labels is None else read_idx(self.labels, 1)
        if labels is not None and len(labels) != len(images):
            raise UserError(f"{self.labels}: holds {len(labels):,} labels, and {self.images} {len(images):,} images")
        for begin in range(0, len(images), BATCH):
            part = images[begin : begin + BATCH]
            rows = pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(part.reshape(-1)), part.shape[2])
            columns = {
                "image": pyarrow.FixedSizeListArray.from_arrays(rows, part.shape[1]),
                "origin": pyarrow.array([f"image {begin + number}" for number in range(len(part))]),
            }
            if labels is not None:
                columns["label"] = pyarrow.array(labels[begin : begin + BATCH].astype(np.int64))
            yield pyarrow.record_batch(columns)

    def signature(self) -> str:
        """A hash of both files."""
        digest = hashlib.blake2b(digest_size=16)
        for name in (self.images, *([self.labels] if self.labels else [])):
            digest.update(_contents(name))
        return digest.hexdigest()


def read_idx(name: str, dimensions: int) -> np.ndarray:
    """The numbers in an idx file of so many ``dimensions``, uint8. Raises UserError where it is none, or cut off."""
    import numpy as np

    data = _contents(name)
    if data[:2] == b"\x1f\x8b":
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError) as error:
            raise UserError(f"{name}: damaged: {error}") from error
    if len(data) < 4 + 4 * dimensions or data[:4] != bytes((0, 0, BYTES, dimensions)):
        raise UserError(f"{name}: not an idx file of bytes in {dimensions} dimension(s)")
    shape = np.frombuffer(data, ">i4", dimensions, 4).tolist()
    if len(data) - 4 - 4 * dimensions != int(np.prod(shape)):
        raise UserError(f"{name}: damaged: it says that it holds {' x '.join(map(str, shape))} numbers and has {len(data)} bytes in all")
    return np.frombuffer(data, np.uint8, offset=4 + 4 * dimensions).reshape(shape)


def _contents(name: str) -> bytes:
    path = Path(name).expanduser()
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from error
