"""Maps drawn of images by likeness with a few images whose maps are known."""

from __future__ import annotations

import torch
from torch import Tensor, nn

PATCH, WIDTH, LEVELS = 2, 32, 2  # pixels on a side of a patch, numbers of a vector, and levels of the reader that are matched


class TaskReader(nn.Module):
    """Vectors [images, LEVELS, patches, WIDTH] of images [images, 3, size, size], after two and after four convolutions.

    The matrices are shared by all tasks; each task adds ``bias`` [4, WIDTH] of its own, one vector a convolution.
    """

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            [
                nn.Conv2d(3, WIDTH, 3, padding=1, bias=False),
                nn.Conv2d(WIDTH, WIDTH, PATCH, PATCH, bias=False),
                *(nn.Conv2d(WIDTH, WIDTH, 3, padding=1, bias=False) for _ in range(2)),
            ]
        )

    def forward(self, images: Tensor, bias: Tensor) -> Tensor:
        """As the class says."""
        found, levels = images, []
        for place, (layer, added) in enumerate(zip(self.layers, bias, strict=True)):
            found = nn.functional.gelu(layer(found) + added[:, None, None])
            if place % 2:
                levels.append(found.flatten(2).transpose(1, 2))
        return torch.stack(levels, dim=1)


class LabelMatching(nn.Module):
    """Maps [queries, size, size] as mixtures of the known maps of support images, by attention of patches to patches.

    Each patch of a query asks, at each level, all patches of the supports; what comes back is the mean of their embedded labels by
    the softmax of products, the levels added by ``gates`` [LEVELS] of the task; a convolution and a layer draw the labels of the patch.
    """

    def __init__(self, tasks: int) -> None:
        super().__init__()
        self.read = TaskReader()
        self.biases, self.gates = nn.Parameter(torch.zeros(tasks, 4, WIDTH)), nn.Parameter(torch.ones(tasks, LEVELS))
        self.ask, self.key = (nn.ModuleList(nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(LEVELS)) for _ in range(2))
        self.label = nn.Conv2d(1, WIDTH, 2 * PATCH, PATCH, padding=PATCH // 2)  # half a patch beyond each side
        self.smooth, self.draw = nn.Conv2d(WIDTH, WIDTH, 3, padding=1), nn.Conv2d(WIDTH, PATCH * PATCH, 1)

    def forward(self, images: Tensor, supports: Tensor, labels: Tensor, bias: Tensor, gates: Tensor) -> Tensor:
        """As the class says; ``labels`` [supports, size, size] are the known maps."""
        queries, known = self.read(images, bias), self.read(supports, bias)
        values = self.label(labels[:, None]).flatten(2).transpose(1, 2).flatten(0, 1)
        found = queries.new_zeros(len(images), queries.shape[2], WIDTH)
        for level, (ask, key) in enumerate(zip(self.ask, self.key, strict=True)):
            scores = ask(queries[:, level]) @ key(known[:, level]).flatten(0, 1).T / WIDTH**0.5
            found = found + gates[level] * (scores.softmax(dim=2) @ values)
        side = images.shape[-1] // PATCH
        square = found.transpose(1, 2).unflatten(2, (side, side))
        return joined(self.draw(square + nn.functional.gelu(self.smooth(square))))


class SharedMaps(nn.Module):
    """Maps [images, size, size] by the same reader, and a head for each task that reads both levels."""

    def __init__(self, tasks: int) -> None:
        super().__init__()
        self.read = TaskReader()
        self.biases = nn.Parameter(torch.zeros(tasks, 4, WIDTH))
        self.heads = nn.ModuleList(map_head() for _ in range(tasks))

    def forward(self, images: Tensor, bias: Tensor, head: nn.Module) -> Tensor:
        """As the class says."""
        side = images.shape[-1] // PATCH
        levels = self.read(images, bias).permute(0, 1, 3, 2).flatten(1, 2).unflatten(2, (side, side))
        return joined(head(levels))


def map_head() -> nn.Sequential:
    """From both levels of a reader to the pixels of patches."""
    return nn.Sequential(nn.Conv2d(LEVELS * WIDTH, WIDTH, 3, padding=1), nn.GELU(), nn.Conv2d(WIDTH, PATCH * PATCH, 1))


def joined(patches: Tensor) -> Tensor:
    """Maps [images, size, size] of pixels of patches [images, pixels, side, side]."""
    return nn.functional.pixel_shuffle(patches, PATCH)[:, 0]
