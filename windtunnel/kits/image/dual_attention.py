"""A small U-shaped network of attention whose blocks look across places, across channels, or both."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

from windtunnel.kits.image.patches import to_patches

PATCH, HEADS = 2, 4


class PlaceAttention(nn.Module):
    """Efficient attention across places [images, places, width]: softmax(q) (softmax(k)^T v), q over numbers and k over places.

    Shen et al. 2021, arXiv:1812.01243: cost grows with the number of places, not with its square. ``full`` is softmax(q k^T / root) v.
    """

    def __init__(self, width: int, full: bool) -> None:
        super().__init__()
        self.full, self.into, self.out = full, nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, rows: Tensor) -> Tensor:
        """As the class says."""
        query, key, value = self.into(rows).unflatten(2, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
        if self.full:
            found = nn.functional.scaled_dot_product_attention(query, key, value)
        else:
            found = query.softmax(dim=3) @ (key.softmax(dim=2).transpose(2, 3) @ value)
        mixed: Tensor = self.out(found.transpose(1, 2).flatten(2))
        return mixed


class ChannelAttention(nn.Module):
    """Attention across numbers: v softmax(k^T q / temperature), q and k of length 1 along places, a learned temperature for each head.

    Ali et al. 2021, arXiv:2106.09681; what mixes the numbers of a place is the likeness of channels over the whole image.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.into, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.temperature = nn.Parameter(torch.ones(HEADS, 1, 1))

    def forward(self, rows: Tensor) -> Tensor:
        """As the class says."""
        query, key, value = self.into(rows).unflatten(2, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
        query, key = (nn.functional.normalize(each, dim=2) for each in (query, key))
        alike = (query.transpose(2, 3) @ key * self.temperature).softmax(dim=3)  # [images, heads, numbers, numbers]
        mixed: Tensor = self.out((value @ alike.transpose(2, 3)).transpose(1, 2).flatten(2))
        return mixed


class TwofoldBlock(nn.Module):
    """Two attentions, each followed by an inner layer, with norms before and what came in added after.

    Between the two stands a convolution of each number with its neighbours, so that no kind is blind to places.
    """

    def __init__(self, width: int, kinds: tuple[str, str]) -> None:
        super().__init__()
        self.attentions = nn.ModuleList(
            ChannelAttention(width) if kind == "channels" else PlaceAttention(width, kind == "full") for kind in kinds
        )
        self.inner = nn.ModuleList(nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)) for _ in kinds)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(4))
        self.near = nn.Conv2d(width, width, 3, padding=1, groups=width)

    def forward(self, rows: Tensor) -> Tensor:
        """[images, places, width]."""
        side = round(rows.shape[1] ** 0.5)
        for place, (attention, inner) in enumerate(zip(self.attentions, self.inner, strict=True)):
            rows = rows + attention(self.norms[2 * place](rows))
            rows = rows + inner(self.norms[2 * place + 1](rows))
            if place == 0:
                square = rows.transpose(1, 2).unflatten(2, (side, side))
                rows = rows + self.near(square).flatten(2).transpose(1, 2)
        return rows


class DualNetwork(nn.Module):
    """Logits [images, outputs, size, size] of images [images, 3, size, size]: a block at each of three scales down and two up.

    On the way up a scale is joined with what left it on the way down. With ``between`` the scales that go across look at each other first:
    each is multiplied, number by number, by 1 plus a learned map of the means of all scales.
    """

    def __init__(
        self, size: int, outputs: int, kinds: tuple[str, str], *, between: bool, widths: tuple[int, int, int] = (16, 24, 32)
    ) -> None:
        super().__init__()
        self.size, self.outputs, side = size, outputs, size // PATCH
        self.embed, self.places = nn.Linear(3 * PATCH**2, widths[0]), nn.Parameter(0.02 * torch.randn(side**2, widths[0]))
        self.down = nn.ModuleList(TwofoldBlock(width, kinds) for width in widths)
        self.up = nn.ModuleList(TwofoldBlock(width, kinds) for width in widths[:2])
        self.merge = nn.ModuleList(nn.Linear(4 * one, two) for one, two in itertools.pairwise(widths))
        self.split = nn.ModuleList(nn.Linear(two, 4 * one) for one, two in itertools.pairwise(widths))
        self.join = nn.ModuleList(nn.Linear(2 * width, width) for width in widths[:2])
        self.between = nn.ModuleList(nn.Linear(sum(widths), width) for width in widths[:2]) if between else None
        self.norm, self.out = nn.LayerNorm(widths[0]), nn.Linear(widths[0], outputs * PATCH**2)

    def forward(self, images: Tensor) -> Tensor:
        """As the class says."""
        found, kept = self.embed(to_patches(images, PATCH)) + self.places, []
        for level, block in enumerate(self.down):
            found = block(found)
            if level < 2:
                kept.append(found)
                found = self.merge[level](merged(found))
        if self.between is not None:
            means = torch.cat([each.mean(dim=1) for each in (*kept, found)], dim=1)
            kept = [each * (1 + layer(means)[:, None]) for each, layer in zip(kept, self.between, strict=True)]
        for level in (1, 0):
            found = self.join[level](torch.cat([kept[level], parted(self.split[level](found))], dim=2))
            found = self.up[level](found)
        side = self.size // PATCH
        patches = self.out(self.norm(found)).transpose(1, 2).unflatten(2, (side, side))
        return nn.functional.pixel_shuffle(patches, PATCH)


def merged(rows: Tensor) -> Tensor:
    """Four neighbouring places as one: [images, places, width] to [images, places / 4, 4 width]."""
    side = round(rows.shape[1] ** 0.5)
    return nn.functional.pixel_unshuffle(rows.transpose(1, 2).unflatten(2, (side, side)), 2).flatten(2).transpose(1, 2)


def parted(rows: Tensor) -> Tensor:
    """One place as four neighbouring ones: what :func:`merged` undoes."""
    side = round(rows.shape[1] ** 0.5)
    return nn.functional.pixel_shuffle(rows.transpose(1, 2).unflatten(2, (side, side)), 2).flatten(2).transpose(1, 2)


def dice_and_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """The mean of 1 - Dice over classes but the first, the ground, plus the cross entropy, of logits [images, classes, size, size]."""
    shares, truth = logits.softmax(dim=1), nn.functional.one_hot(labels, logits.shape[1]).movedim(3, 1).float()
    common, total = (shares * truth).sum(dim=(0, 2, 3)), (shares + truth).sum(dim=(0, 2, 3))
    return (1 - 2 * common / total.clamp(min=1e-6))[1:].mean() + nn.functional.cross_entropy(logits, labels)
