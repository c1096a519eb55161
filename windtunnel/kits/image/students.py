"""Teacher and student of handwritten digits."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from windtunnel.kits.optim.descent import take_steps


class Teacher(nn.Module):
    """One hidden layer."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.out = nn.Linear(64, width), nn.Linear(width, 10)

    def hidden(self, images: Tensor) -> Tensor:
        """[images, width]."""
        return self.first(images).relu()

    def forward(self, images: Tensor) -> Tensor:
        """Logits [images, 10]."""
        logits: Tensor = self.out(self.hidden(images))
        return logits

    def learn(self, images: Tensor, labels: Tensor, steps: int, random: np.random.Generator) -> None:
        """Cross entropy on images with noise; its weights then stay."""

        def loss(step: int) -> Tensor:
            rows = torch.from_numpy(random.integers(0, len(images), 64))
            return functional.cross_entropy(self(images[rows] + 0.3 * torch.randn(64, 64)), labels[rows])

        take_steps(torch.optim.Adam(self.parameters(), 3e-3, fused=True), loss, steps)
        self.requires_grad_(False)


class Student(nn.Module):
    """One hidden layer, a projection to the width of a teacher, and with ``points`` [16, teacher] attention to them."""

    def __init__(self, width: int, classes: int, teacher: int, points: Tensor | None) -> None:
        super().__init__()
        self.first, self.out = nn.Linear(64, width), nn.Linear(width, classes)
        self.project = nn.Sequential(nn.Linear(width, teacher), nn.ReLU(), nn.Linear(teacher, teacher))
        self.points = points
        self.ask, self.back = nn.Linear(width, teacher), nn.Linear(teacher, width)

    def hidden(self, images: Tensor) -> Tensor:
        """[images, width]."""
        found = self.first(images).relu()
        if self.points is not None:
            found = found + self.back(attended(self.ask(found), self.points))
        return found

    def forward(self, images: Tensor) -> Tensor:
        """Logits [images, classes]."""
        logits: Tensor = self.out(self.hidden(images))
        return logits

    def kept(self) -> int:
        """How many numbers it needs when it is used."""
        modules = [self.first, self.out] + ([] if self.points is None else [self.ask, self.back])
        return sum(each.numel() for module in modules for each in module.parameters()) + (0 if self.points is None else self.points.numel())


def attended(asked: Tensor, points: Tensor) -> Tensor:
    """The mean of ``points`` [count, width] by the softmax of their products with ``asked`` [images, width], over the root of the width."""
    return (asked @ points.T / points.shape[1] ** 0.5).softmax(dim=1) @ points


def jensen_shannon(first: Tensor, second: Tensor) -> Tensor:
    """The divergence in nats [rows] of two distributions [rows, classes]: at most log 2."""
    middle = (first + second).clamp(min=1e-12).log() - np.log(2)

    def apart(one: Tensor) -> Tensor:
        return (one * (one.clamp(min=1e-12).log() - middle)).sum(dim=1)

    return (apart(first) + apart(second)) / 2


def centres(rows: Tensor, count: int, random: np.random.Generator) -> Tensor:
    """``count`` centres of ``rows`` after ten rounds of k-means."""
    found = rows[torch.from_numpy(random.choice(len(rows), count, replace=False))]
    for _ in range(10):
        near = torch.cdist(rows, found).argmin(dim=1)
        found = torch.stack([rows[near == place].mean(dim=0) if (near == place).any() else found[place] for place in range(count)])
    return found
