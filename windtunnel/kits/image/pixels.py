"""Images of a corpus as arrays of pixels."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, NamedTuple

from windtunnel.core.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    import pyarrow


class Images(NamedTuple):
    """What is known of the images of a stream.

    ``size`` is pixels on a side, ``channels`` 1 (grey) or 3 (red, green, blue). ``mean`` and ``deviation`` are those of each channel over
    the training images, with pixels from 0 to 1: float32 [channels]. ``classes`` is how many labels there are; 0 where images have none.
    """

    size: int
    channels: int
    mean: np.ndarray
    deviation: np.ndarray
    classes: int

    def scaled(self, pixels: np.ndarray) -> np.ndarray:
        """``pixels`` uint8 [..., channels, size, size] with the mean taken off and divided by the deviation, as float32."""
        import numpy as np

        shape = (self.channels, 1, 1)
        values: np.ndarray = (pixels.astype(np.float32) / 255 - self.mean.reshape(shape)) / self.deviation.reshape(shape)
        return values


def pixels_of(column: pyarrow.Array, where: str) -> list[np.ndarray]:
    """The images in a column of a corpus, each uint8 [channels, height, width].

    An image is rows of numbers from 0 to 255 (each pixel a number, or a list of three), the bytes of a file that Pillow reads, or such a
    file as ``datasets`` stores it (a mapping with ``bytes``). ``where`` says in errors which images these are.

    Raises:
        UserError: for anything else, or where Pillow is needed and not there.
    """
    import numpy as np

    found = []
    for value in column.to_pylist():
        if isinstance(value, dict):
            value = value.get("bytes")
        array = _opened(value, where) if isinstance(value, bytes) else np.asarray(value)
        if array.ndim not in (2, 3) or array.dtype.kind not in "ui" or array.size == 0 or array.min() < 0 or array.max() > 255:
            raise UserError(
                f"{where}: an image is rows of whole numbers from 0 to 255, or the bytes of an image file, not {str(value)[:60]}"
            )
        found.append(np.ascontiguousarray(array[None] if array.ndim == 2 else array.transpose(2, 0, 1)).astype(np.uint8))
    return found


def _opened(data: bytes, where: str) -> Any:
    import numpy as np

    try:
        from PIL import Image
    except ImportError as error:
        raise UserError(f"{where}: reading image files needs Pillow: pip install 'windtunnel[vision]'") from error
    try:
        with Image.open(io.BytesIO(data)) as image:
            return np.asarray(image.convert("L" if image.mode in ("1", "L", "I", "F") else "RGB"))
    except OSError as error:
        raise UserError(f"{where}: not an image that Pillow reads: {error}") from error
