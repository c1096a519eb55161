"""Contrastive learning of small images in seconds: two views of each, and a network that tells which belong together."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from windtunnel.kits.optim.descent import take_steps
from windtunnel.kits.ridge import ridge

Images = NDArray[Any]
SIDE = 8


def views(images: Images, random: np.random.Generator) -> Images:
    """Each of ``images`` [images, 64] in 0 to 1 moved by a pixel at most each way, at another contrast, and with noise."""
    square = np.pad(images.reshape(-1, SIDE, SIDE), ((0, 0), (1, 1), (1, 1)))
    down, across = random.integers(0, 3, (2, len(images)))
    rows = np.arange(SIDE)
    moved = square[np.arange(len(images))[:, None, None], (down[:, None] + rows)[:, :, None], (across[:, None] + rows)[:, None, :]]
    found = moved.reshape(len(images), -1) * random.uniform(0.6, 1.4, (len(images), 1))
    return np.asarray(found + 0.1 * random.standard_normal(found.shape), np.float32)


def encoder(seed: int, width: int = 32) -> nn.Sequential:
    """From 64 pixels to features, with weights drawn by ``seed`` alone."""
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(SIDE * SIDE, 96), nn.ReLU(), nn.Linear(96, width))


def contrast(first: Tensor, second: Tensor, temperature: float = 0.2) -> Tensor:
    """The loss of pairs of features [pairs, width] (Chen et al. 2020, arXiv:2002.05709): each has one partner among all the others."""
    both = nn.functional.normalize(torch.cat([first, second]), dim=1)
    alike = both @ both.T / temperature
    alike.fill_diagonal_(-torch.inf)
    partner = torch.arange(len(both)).roll(len(first))
    return nn.functional.cross_entropy(alike, partner)


def pretrained(images: Images, seed: int, random: np.random.Generator, *, steps: int, batch: int = 64, rate: float = 3e-3) -> nn.Sequential:
    """An :func:`encoder` after steps on ``images`` [images, 64], of which each batch draws different ones."""
    model = encoder(seed)

    def loss(step: int) -> Tensor:
        chosen = images[random.choice(len(images), min(batch, len(images)), replace=False)]
        return contrast(*(model(torch.from_numpy(views(chosen, random))) for _ in range(2)))

    take_steps(torch.optim.Adam(model.parameters(), rate), loss, steps)
    return model


def features(model: nn.Sequential, images: Images) -> Images:
    """[images, width] float64, each row of length 1."""
    with torch.no_grad():
        found = nn.functional.normalize(model(torch.from_numpy(images).float()), dim=1)
    return np.asarray(found.double().numpy())


def probed(model: nn.Sequential, known: Images, labels: Images, held: Images, truth: Images) -> float:
    """The accuracy on ``held`` of a ridge regression of labels on the features of ``known``."""
    inputs, others = (np.hstack([features(model, one), np.ones((len(one), 1))]) for one in (known, held))
    kinds = np.unique(labels)
    wanted = 2.0 * (labels[:, None] == kinds) - 1
    weights = ridge(inputs, wanted, 0.1)
    return float((kinds[(others @ weights).argmax(axis=1)] == truth).mean())
