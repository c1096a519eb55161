"""Images of a corpus as arrays of pixels."""

from __future__ import annotations

import io
import math
import re
from typing import TYPE_CHECKING, NamedTuple

from windtunnel.core.errors import UserError, needing

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import pyarrow


PLAIN = re.compile(rb"P([56]) (\d+) (\d+) 255\n")


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


def pixels_of(column: pyarrow.Array, where: str, size: int | None = None, channels: int | None = None) -> list[np.ndarray]:
    """The images in a column of a corpus, each uint8 [channels, height, width].

    An image is rows of numbers from 0 to 255 (each pixel a number, or a list of three), the bytes of a file that Pillow reads, or such a
    file as ``datasets`` stores it (a mapping with ``bytes``). Files are brought to ``size`` and ``channels``, as :func:`read_image` does
    it; rows of numbers stay as they are. ``where`` says in errors which images these are.

    Raises:
        UserError: for anything else, or where Pillow is needed and not there.
    """
    import numpy as np

    if (whole := _even(column)) is not None:
        return list(whole)
    found = []
    for value in column.to_pylist():
        if isinstance(value, dict):
            value = value.get("bytes")
        array = _opened(value, where, size, channels) if isinstance(value, bytes) else np.asarray(value)
        if array.ndim not in (2, 3) or array.dtype.kind not in "ui" or array.size == 0 or array.min() < 0 or array.max() > 255:
            raise UserError(
                f"{where}: an image is rows of whole numbers from 0 to 255, or the bytes of an image file, not {str(value)[:60]}"
            )
        found.append(np.ascontiguousarray(array[None] if array.ndim == 2 else array.transpose(2, 0, 1)).astype(np.uint8))
    return found


def _even(column: pyarrow.Array) -> np.ndarray | None:
    """Images that are rows of numbers from 0 to 255 and of one size, uint8 [images, channels, height, width]; None where they are not."""
    import numpy as np
    from pyarrow import compute, types

    shape: list[int] = []
    values = column
    while types.is_large_list(values.type) or types.is_list(values.type) or types.is_fixed_size_list(values.type):
        ends = compute.min_max(compute.list_value_length(values))
        if values.null_count or not ends["max"].as_py() or ends["min"] != ends["max"]:
            return None
        shape.append(ends["max"].as_py())
        values = values.flatten()
    if len(shape) not in (2, 3) or not types.is_integer(values.type) or values.null_count:
        return None
    ends = compute.min_max(values)
    if ends["min"].as_py() < 0 or ends["max"].as_py() > 255:
        return None
    pixels = values.to_numpy(zero_copy_only=False).astype(np.uint8).reshape(len(column), *shape)
    return np.ascontiguousarray(pixels[:, None] if len(shape) == 2 else pixels.transpose(0, 3, 1, 2))


def plain_file(image: np.ndarray) -> bytes:
    """An image uint8 [height, width] or [height, width, 3] as the bytes of a file (PGM or PPM) that holds its pixels as they are."""
    return f"P{5 if image.ndim == 2 else 6} {image.shape[1]} {image.shape[0]} 255\n".encode() + image.tobytes()


def _plain(data: bytes) -> np.ndarray | None:
    """What :func:`plain_file` was given, without Pillow; None for any other file."""
    import numpy as np

    head = PLAIN.match(data)
    if head is None:
        return None
    shape = (int(head[3]), int(head[2]), *([3] if head[1] == b"6" else []))
    return np.frombuffer(data, np.uint8, offset=head.end()).reshape(shape) if len(data) == head.end() + math.prod(shape) else None


def _opened(data: bytes, where: str, size: int | None, channels: int | None) -> np.ndarray:
    image = _plain(data)
    ready = image is not None and (size is None or image.shape[:2] == (size, size))
    if ready and image is not None and channels in (None, 1 if image.ndim == 2 else 3):
        return image
    try:
        return read_image(data, size, channels)
    except OSError as error:
        raise UserError(f"{where}: not an image that can be read whole: {error}") from error


def read_image(file: Path | bytes, size: int | None = None, channels: int | None = None) -> np.ndarray:
    """An image file (its path or its bytes) as a person sees it: uint8 [height, width] in grey, [height, width, 3] in colour.

    Rotations that a camera wrote down are undone, 16 bits are brought to 8, and what is transparent is white. ``size`` brings it to so many
    pixels on a side: the shorter side is scaled, and the middle is cut out. ``channels`` is 1 or 3 (None: what the file has).

    Raises:
        OSError: where it cannot be read whole, or has so many pixels that opening it is refused.
        UserError: where Pillow is missing.
    """
    import warnings

    import numpy as np

    with needing("reading image files", "Pillow", "vision"):
        from PIL import Image, ImageOps
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            with Image.open(io.BytesIO(file) if isinstance(file, bytes) else file) as opened:
                image = ImageOps.exif_transpose(opened)
                if image.mode.startswith("I"):  # 16 bits or more for each pixel: Pillow would cut off what is above 255
                    deep = np.asarray(image).astype(np.float64)
                    image = Image.fromarray((deep * (255 / max(65535.0, deep.max(initial=0)))).astype(np.uint8))
                if image.mode in ("P", "PA", "LA", "RGBA", "La", "RGBa"):  # what is transparent is white
                    image = image.convert("RGBA")
                    image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
                grey = channels == 1 or (channels is None and image.mode in ("1", "L", "F"))
                image = image.convert("L" if grey else "RGB")
                return np.asarray(image if size is None else ImageOps.fit(image, (size, size), Image.Resampling.BOX))
        except (Image.DecompressionBombWarning, Image.DecompressionBombError, SyntaxError, ValueError) as error:
            raise OSError(str(error)) from error
