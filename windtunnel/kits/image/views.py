"""Views of images: each changed by itself, at random. Plain functions on arrays of numpy, whose pixels have mean 0 and deviation 1."""

from __future__ import annotations

import numpy as np


def moved(images: np.ndarray, random: np.random.Generator, shift: int, mirror: bool) -> np.ndarray:
    """``images`` [..., channels, size, size] moved by up to ``shift`` pixels each way, and with ``mirror`` half of them mirrored.

    What comes in is 0, the mean of the training images.
    """
    flat, size = images.reshape(-1, *images.shape[-3:]), images.shape[-1]
    wide = np.pad(flat, ((0, 0), (0, 0), (shift, shift), (shift, shift)))
    down, across = random.integers(0, 2 * shift + 1, (2, len(flat)))
    mirrored = (random.random(len(flat)) < 0.5) & mirror
    found = np.stack([one[:, top : top + size, left : left + size] for one, top, left in zip(wide, down, across, strict=True)])
    found[mirrored] = found[mirrored][..., ::-1]
    return found.reshape(images.shape)


def cropped(images: np.ndarray, random: np.random.Generator, least: float) -> np.ndarray:
    """``images`` [..., channels, size, size] each cut to a square of ``least`` to 1 of its area somewhere, and brought back to its size.

    Pixels between pixels are read bilinearly. With ``least`` 1 nothing changes.
    """
    flat, size = images.reshape(-1, *images.shape[-3:]), images.shape[-1]
    side = np.sqrt(random.uniform(least, 1, len(flat)))[:, None]
    places = np.arange(size)[None] * side
    begin = (size - 1) * (1 - side) * random.random((2, len(flat), 1))
    low, share = [], []
    for axis in begin:
        at = np.clip(places + axis, 0, size - 1)
        floor = np.minimum(at.astype(np.int64), max(size - 2, 0))
        low.append(floor)
        share.append((at - floor).astype(images.dtype))
    number = np.arange(len(flat))[:, None, None]

    def read(down: int, across: int) -> np.ndarray:
        rows, columns = (np.minimum(floor + step, size - 1) for floor, step in zip(low, (down, across), strict=True))
        return flat.transpose(0, 2, 3, 1)[number, rows[:, :, None], columns[:, None, :]]

    y, x = share[0][:, :, None, None], share[1][:, None, :, None]
    found = (1 - y) * ((1 - x) * read(0, 0) + x * read(0, 1)) + y * ((1 - x) * read(1, 0) + x * read(1, 1))
    return np.ascontiguousarray(found.transpose(0, 3, 1, 2), images.dtype).reshape(images.shape)


def lit(images: np.ndarray, random: np.random.Generator, strength: float) -> np.ndarray:
    """``images`` [..., channels, size, size] lit anew: up to ``strength`` more or less contrast, and as many deviations brighter."""
    lead = images.shape[:-3]
    contrast, brightness = (random.uniform(-strength, strength, (*lead, 1, 1, 1)).astype(images.dtype) for _ in range(2))
    return images * (1 + contrast) + brightness
