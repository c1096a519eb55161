"""Scenes and their captions as rows that a decoder reads: vectors of the image and words, in either order."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from windtunnel.kits.image.patches import to_patches
from windtunnel.kits.image.scenes import COLOURS, SHAPES, DrawnScenes, scenes

CELLS = 4  # quarters of an image
CELL, COLOUR, SHAPE = 0, CELLS, CELLS + len(COLOURS)  # where the words of each begin
IMAGE, TEXT = SHAPE + len(SHAPES), SHAPE + len(SHAPES) + 1  # words that say what follows
WORDS = TEXT + 1


class Written(NamedTuple):
    """``images`` [N, 3, size, size] and ``captions`` int64 [N, 3 x objects]: quarter, colour and shape of each object, in reading order."""

    images: Tensor
    captions: Tensor
    scenes: DrawnScenes


def written(random: np.random.Generator, count: int, size: int, objects: int, *, uneven: float = 0.1, noise: float = 0.05) -> Written:
    """``count`` scenes of so many objects, with their captions."""
    shape = (count, objects)
    made = scenes(
        random, random.integers(0, len(SHAPES), shape), random.integers(0, len(COLOURS), shape), size,
        radius=(0.15, 0.21), uneven=uneven, noise=noise,
    )  # fmt: skip
    order = made.cells.argsort(axis=1)
    words = [
        np.take_along_axis(each + begin, order, axis=1)
        for each, begin in ((made.cells, CELL), (made.colours, COLOUR), (made.shapes, SHAPE))
    ]
    captions = np.stack(words, axis=2).reshape(count, -1)
    return Written(torch.from_numpy(made.images), torch.from_numpy(captions), made)


class TileAxes(NamedTuple):
    """Images as a short row of vectors: one for each tile, its leading ``axes`` [numbers, width] brought to deviation 1."""

    middle: Tensor
    axes: Tensor
    tile: int

    @classmethod
    def of(cls, images: Tensor, tile: int, width: int) -> TileAxes:
        """From the principal axes of the tiles of ``images``."""
        rows = to_patches(images, tile).flatten(0, 1).double()
        middle = rows.mean(dim=0)
        values, axes = torch.linalg.eigh((rows - middle).T @ (rows - middle) / len(rows))
        chosen = axes[:, -width:] / values[-width:].sqrt()
        return cls(middle.float(), chosen.float(), tile)

    def __call__(self, images: Tensor) -> Tensor:
        """Vectors [images, tiles, width]."""
        return (to_patches(images, self.tile) - self.middle) @ self.axes


def one_hot(words: Tensor) -> Tensor:
    """``words`` [...] as rows of WORDS numbers."""
    return torch.nn.functional.one_hot(words, WORDS).float()


def joined(vectors: Tensor, words: Tensor, *, image_first: bool) -> Tensor:
    """Rows [N, places, width + WORDS]: vectors [N, tiles, width] and words [N, words], in either order, after a word for each."""
    width = vectors.shape[2]
    seen = torch.nn.functional.pad(vectors, (0, WORDS))
    said = torch.nn.functional.pad(one_hot(words), (width, 0))
    starts = [
        torch.nn.functional.pad(one_hot(torch.full((len(vectors), 1), word, dtype=torch.int64)), (width, 0)) for word in (IMAGE, TEXT)
    ]
    parts = [starts[0], seen, starts[1], said] if image_first else [starts[1], said, starts[0], seen]
    return torch.cat(parts, dim=1)
