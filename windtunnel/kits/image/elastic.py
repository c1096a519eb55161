"""A residual network of convolutions as plain weights, out of which narrower and shallower ones are cut."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from windtunnel.kits.image.tiny import Weights

STEM, PLACES, OUT, PROTOTYPES = 5, 36, 32, 64  # pixels of the first filter, places after it, and numbers of a head and its prototypes
COLD, WARM = 0.05, 0.1  # temperatures of teacher and student


class Cut(NamedTuple):
    """How wide and how deep a network is."""

    width: int
    depth: int

    @property
    def cost(self) -> int:
        """Multiplications of an image that goes through."""
        return PLACES * (3 * STEM**2 * self.width + 9 * self.width**2 * self.depth)


def whole(size: Cut, seed: int) -> Weights:
    """Weights of a network at random: a first filter, blocks of a norm and a convolution, a head and its prototypes."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator) * math.sqrt(2 / math.prod(shape[1:]))

    width, found = size.width, dict[str, Tensor]()
    found["stem.weight"], found["stem.bias"] = normal(width, 3, STEM, STEM), torch.zeros(width)
    for block in range(size.depth):
        found[f"{block}.weight"], found[f"{block}.bias"] = 0.5 * normal(width, width, 3, 3), torch.zeros(width)
        found[f"{block}.scale"] = torch.ones(width)
    found["head.weight"], found["head.bias"] = normal(OUT, width), torch.zeros(OUT)
    found["prototypes"] = torch.randn(PROTOTYPES, OUT, generator=generator)
    return found


def cut(weights: Weights, to: Cut) -> Weights:
    """The network of the first ``to.width`` numbers and of ``to.depth`` blocks spread from the first to the last.

    Convolutions and the head read fewer numbers than before and are multiplied by the root of how many times fewer.
    """
    width, depth = len(weights["stem.bias"]), sum(name.endswith(".scale") for name in weights)
    kept, grown = to.width, width / to.width
    found = {"stem.weight": weights["stem.weight"][:kept], "stem.bias": weights["stem.bias"][:kept], "prototypes": weights["prototypes"]}
    chosen = [round(place * (depth - 1) / max(1, to.depth - 1)) for place in range(to.depth)]
    for place, block in enumerate(chosen):
        found[f"{place}.weight"] = weights[f"{block}.weight"][:kept, :kept] * grown**0.5
        found[f"{place}.bias"], found[f"{place}.scale"] = weights[f"{block}.bias"][:kept], weights[f"{block}.scale"][:kept]
    found["head.weight"], found["head.bias"] = weights["head.weight"][:, :kept] * grown**0.5, weights["head.bias"]
    return found


def hidden(weights: Weights, images: Tensor) -> Tensor:
    """The mean over places of what the last block leaves, [images, width], normed."""
    found = functional.conv2d(images, weights["stem.weight"], weights["stem.bias"], stride=4, padding=STEM // 2)
    for block in range(sum(name.endswith(".scale") for name in weights)):
        normed = normalised(found, 1) * weights[f"{block}.scale"][:, None, None]
        found = found + functional.relu(functional.conv2d(normed, weights[f"{block}.weight"], weights[f"{block}.bias"], padding=1))
    return normalised(found.mean(dim=(2, 3)), 1)


def normalised(values: Tensor, dim: int) -> Tensor:
    """Less their mean, over their deviation."""
    apart = values - values.mean(dim=dim, keepdim=True)
    return apart / (apart.square().mean(dim=dim, keepdim=True) + 1e-5).sqrt()


def scores(weights: Weights, images: Tensor) -> Tensor:
    """Cosines with the prototypes [images, PROTOTYPES]."""
    found = functional.linear(hidden(weights, images), weights["head.weight"], weights["head.bias"])
    return functional.normalize(found, dim=1) @ functional.normalize(weights["prototypes"], dim=1).T


def taught(said: Tensor, wanted: Tensor) -> Tensor:
    """The cross entropy of what a student says with what it is to say."""
    return -(wanted * (said / WARM).log_softmax(dim=1)).sum(dim=1).mean()


def sharpened(said: Tensor, centre: Tensor) -> Tensor:
    """What a teacher asks for: its scores less their moving mean, sharpened."""
    return torch.softmax((said - centre) / COLD, dim=1)
