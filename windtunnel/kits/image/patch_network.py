"""A small network on the patches of small images, for experiments that pretrain one within a second."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class PatchNetwork(nn.Module):
    """One vector [images, width] of patches [images, patches, numbers]; hidden patches become one learned vector.

    Every patch is embedded alike and gets its place; two layers read all of them at once. With a ``time`` from 0 to 1 [images] the
    network is told how noisy images are. :meth:`at` asks what the vector says of each place.
    """

    def __init__(self, patches: int, numbers: int, width: int = 64, inner: int = 128) -> None:
        super().__init__()
        self.width, self.inner = width, inner
        self.embed, self.timed = nn.Linear(numbers, 16), nn.Linear(8, inner)
        self.positions = nn.Parameter(0.1 * torch.randn(patches, 16))
        self.missing = nn.Parameter(0.1 * torch.randn(16))
        self.first, self.second = nn.Linear(16 * patches, inner), nn.Linear(inner, width)
        self.places = nn.Parameter(0.5 * torch.randn(patches, width))
        self.ask = nn.Sequential(nn.Linear(width, width), nn.GELU())

    def forward(self, patches: Tensor, hidden: Tensor | None = None, *, time: Tensor | None = None, depth: int | None = None) -> Tensor:
        """``hidden`` is bool [images, patches]; ``depth`` 0 stops before both layers, 1 after the first."""
        found = self.embed(patches)
        if hidden is not None:
            found = torch.where(hidden[..., None], self.missing, found)
        found = nn.functional.gelu(found + self.positions).flatten(1)
        if depth == 0:
            return found
        found = self.first(found)
        if time is not None:
            angles = time[:, None] * math.pi * 2.0 ** torch.arange(4)
            found = found + self.timed(torch.cat([angles.sin(), angles.cos()], dim=1))
        found = nn.functional.gelu(found)
        return found if depth == 1 else self.second(found)

    def at(self, vectors: Tensor) -> Tensor:
        """What ``vectors`` [images, width] say of each place: [images, patches, width]."""
        asked: Tensor = self.ask(vectors[:, None] + self.places)
        return asked


def cut(images: Tensor, side: int) -> Tensor:
    """Patches [images, patches, numbers] of images [images, (frames,) size, size], row by row, each ``side`` pixels on a side."""
    size = images.shape[-1] // side
    tiles = images.reshape(len(images), -1, size, side, size, side).transpose(3, 4)
    return tiles.reshape(len(images), -1, side * side)


def hide(random: torch.Generator, images: int, grid: int, ratio: float, *, blocks: bool = False, frames: int = 1) -> Tensor:
    """Which patches are hidden, bool [images, frames * grid * grid]: of each image the share ``ratio``, at least one and never all.

    They are chosen one by one, or as ``blocks``: rectangles of two or three patches a side, until there are enough, the last one in part.
    """
    count = frames * grid * grid
    wanted = max(1, min(count - 1, round(ratio * count)))
    order = torch.rand(images, count, generator=random)
    if blocks:
        earlier = torch.zeros(images, frames, grid, grid)
        for number in range(8):  # patches of an earlier rectangle come first
            sides = torch.randint(2, min(grid, 3) + 1, (2, images, 1), generator=random)
            begin = (torch.rand(2, images, 1, generator=random) * (grid - sides + 1)).long()
            place = torch.arange(grid)
            down, across = ((place >= at) & (place < at + side) for at, side in zip(begin, sides, strict=True))
            inside = (down[:, :, None] & across[:, None, :])[:, None]
            earlier = torch.where(inside & (earlier == 0), float(8 - number), earlier)
        order = order - earlier.reshape(images, count)
    return order.argsort(dim=1).argsort(dim=1) < wanted
