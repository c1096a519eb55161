"""Small networks on scikit-learn's digits whose weights are plain dictionaries, for experiments that train many of them in seconds.

Layer ``n`` of a network has the tensors ``n.weight`` [out, in] and ``n.bias`` [out]; between two layers stands a rectifier.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from windtunnel.kits.image.digits import digits
from windtunnel.kits.optim.descent import take_step

Weights = dict[str, Tensor]
Kept = TypeVar("Kept")
Setting = TypeVar("Setting")


class Dealt(NamedTuple):
    """Images [N, 64] from 0 to 1 and labels [N], with the places of those to learn from, to choose by, and to be judged on."""

    images: Tensor
    labels: Tensor
    train: Tensor
    chosen: Tensor
    held: Tensor


def dealt(part: str, random: np.random.Generator, classes: Sequence[int] = tuple(range(10))) -> Dealt:
    """Digits of ``classes``, of which ``random`` deals a half to learn from and a quarter each to choose by and to be judged on."""
    found = digits(part)
    rows = np.nonzero(np.isin(found.target, classes))[0]
    order = torch.from_numpy(random.permutation(len(rows)))
    half, end = len(rows) // 2, 3 * len(rows) // 4
    images, labels = found.data[rows] / 16, np.searchsorted(np.sort(classes), found.target[rows])
    return Dealt(torch.from_numpy(images).float(), torch.from_numpy(labels), order[:half], order[half:end], order[end:])


def dealt_halves(part: str, random: np.random.Generator) -> tuple[Dealt, Dealt]:
    """Digits of five classes, which ``random`` draws, and those of the other five."""
    order = random.permutation(10)
    return dealt(part, random, sorted(order[:5].tolist())), dealt(part, random, sorted(order[5:].tolist()))


def turned(images: Tensor, degrees: float) -> Tensor:
    """Images [N, 64] turned against the clock about their middle, between pixels by lines."""
    from scipy.ndimage import rotate

    square = images.numpy().reshape(-1, 8, 8)
    found = rotate(square, degrees, axes=(1, 2), reshape=False, order=1)
    return torch.from_numpy(np.clip(found, 0, 1).reshape(len(square), -1)).float()


def begun(sizes: Sequence[int], seed: int) -> Weights:
    """Layers of these sizes, the first the inputs': normal numbers of variance 2 / inputs, and no bias."""
    generator, made = torch.Generator().manual_seed(seed), {}
    for place, (read, out) in enumerate(itertools.pairwise(sizes)):
        made[f"{place}.weight"] = torch.randn(out, read, generator=generator) * math.sqrt(2 / read)
        made[f"{place}.bias"] = torch.zeros(out)
    return made


def said(weights: Mapping[str, Tensor], inputs: Tensor, layers: int | None = None) -> Tensor:
    """What comes out of the last layer, or what leaves the rectifier of layer ``layers`` - 1."""
    depth = sum(name.endswith(".weight") for name in weights)
    for place in range(depth if layers is None else layers):
        inputs = torch.nn.functional.linear(inputs, weights[f"{place}.weight"], weights[f"{place}.bias"])
        if place < depth - 1:
            inputs = torch.relu(inputs)
    return inputs


def trained(
    weights: Mapping[str, Tensor],
    loss: Callable[[Weights, Tensor], Tensor],
    rows: int,
    steps: int,
    rate: float,
    random: np.random.Generator,
    *,
    only: Iterable[str] | None = None,
    batch: int = 32,
    decay: float = 0.0,
    plain: bool = False,
    after: Callable[[Weights, int], None] | None = None,
) -> Weights:
    """The weights after ``steps`` of AdamW, or with ``plain`` of gradient descent with momentum 0.9, at a rate that falls along a cosine.

    ``loss`` is given the weights and which of ``rows`` are the batch; only the tensors ``only`` move, and ``after`` may change them in
    place when a step, counted from 1, is done.
    """
    moving = set(weights if only is None else only)
    held = {name: weight.detach().clone().requires_grad_(name in moving) for name, weight in weights.items()}
    leaves = [weight for weight in held.values() if weight.requires_grad]
    if not steps or not leaves:
        return {name: weight.detach() for name, weight in held.items()}
    optimizer: torch.optim.Optimizer = torch.optim.AdamW(leaves, rate, weight_decay=decay, foreach=False)
    if plain:
        optimizer = torch.optim.SGD(leaves, rate, momentum=0.9, weight_decay=decay, foreach=False)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = rate * 0.5 * (1 + math.cos(math.pi * step / steps))
        take_step(optimizer, loss(held, torch.from_numpy(random.integers(rows, size=min(batch, rows)))))
        if after is not None:
            with torch.no_grad():
                after(held, step + 1)
    return {name: weight.detach() for name, weight in held.items()}


def classified(inputs: Tensor, labels: Tensor) -> Callable[[Weights, Tensor], Tensor]:
    """The loss that :func:`trained` asks for: cross entropy of a network on rows of ``inputs``."""
    return lambda weights, rows: torch.nn.functional.cross_entropy(said(weights, inputs[rows]), labels[rows])


def right(weights: Mapping[str, Tensor], inputs: Tensor, labels: Tensor) -> float:
    """The share of ``inputs`` whose largest output is that of their label."""
    with torch.no_grad():
        return share_right(said(weights, inputs), labels)


def share_right(logits: Tensor, labels: Tensor) -> float:
    """The share of rows whose largest number is that of their label."""
    return float((logits.argmax(dim=1) == labels).float().mean())


def best(settings: Iterable[Setting], made: Callable[[Setting], Kept], score: Callable[[Kept], float]) -> Kept:
    """What has the highest ``score`` of what is made with each setting; of equals the first. This is how a rate is chosen on validation."""
    return max((made(setting) for setting in settings), key=score)
