"""Image files by what they show, so that one written anew without loss is known again."""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow

BEGIN = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"RIFF", b"II*\0", b"MM\0*")  # PNG, JPEG, GIF, BMP, WebP and TIFF


def shown(data: bytes) -> bytes:
    """The size and pixels of an image file as a person sees it; ``data`` itself where it is none, or cannot be read."""
    try:
        from PIL import Image, ImageOps
    except ImportError:
        return data
    if not data.startswith(BEGIN):
        return data
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data)) as opened:
                image = ImageOps.exif_transpose(opened)
                if not image.mode.startswith(("I", "F")):  # these have more than the 8 bits of a colour, which would be cut off
                    image = image.convert("RGBA")
                return f"{image.mode} {image.size} ".encode() + image.tobytes()
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombWarning, Image.DecompressionBombError):
        return data


def as_shown(column: pyarrow.Array) -> pyarrow.Array:
    """Images as bytes, or as ``datasets`` stores them (a mapping with ``bytes``), by what they show; any other column as it is."""
    import pyarrow
    from pyarrow import compute, types

    inner = column
    if types.is_struct(column.type) and column.type.get_field_index("bytes") >= 0:
        inner = compute.struct_field(column, "bytes")
    if not types.is_large_binary(inner.type) or inner.null_count > column.null_count:  # where only a path is there, that tells
        return column
    return pyarrow.array([value and shown(value) for value in inner.to_pylist()], pyarrow.large_binary())
