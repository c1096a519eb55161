"""Images as patches and back, for arrays of numpy and of torch alike.

A patch is a flat row of numbers: its rows of pixels from the top, pixels from the left, and the channels of each pixel together. The
patches of an image follow each other from the top left, row by row.
"""

from __future__ import annotations

from typing import Any


def to_patches(images: Any, patch: int) -> Any:
    """``images`` [..., channels, height, width] as [..., patches, patch * patch * channels]. ``patch`` divides height and width."""
    *lead, channels, height, width = images.shape
    rows, columns = height // patch, width // patch
    split = images.reshape(*lead, channels, rows, patch, columns, patch)
    return _reordered(split, len(lead), (1, 3, 2, 4, 0)).reshape(*lead, rows * columns, patch * patch * channels)


def to_images(patches: Any, patch: int, height: int, width: int) -> Any:
    """``patches`` [..., patches, patch * patch * channels] as [..., channels, height, width]: what :func:`to_patches` undoes."""
    *lead, _, size = patches.shape
    channels, rows, columns = size // (patch * patch), height // patch, width // patch
    split = patches.reshape(*lead, rows, columns, patch, patch, channels)
    return _reordered(split, len(lead), (4, 0, 2, 1, 3)).reshape(*lead, channels, height, width)


def _reordered(array: Any, lead: int, order: tuple[int, ...]) -> Any:
    axes = (*range(lead), *(lead + axis for axis in order))
    return array.permute(axes) if hasattr(array, "permute") else array.transpose(axes)
