"""A head that changes frozen features a little before it reads them, and what keeps the change in bounds."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

NEAR, APART, LEADING, FIRST = 1.0, 0.04, 0.001, 5  # weights of the terms, and how many singular values lead


class TunedFeatures(nn.Module):
    """Five logits from features [images, width]: of themselves (``linear``), or of what two layers add to them.

    With ``covariance`` the squares of the covariances between the numbers that are read are punished; with ``whole`` also how far unit
    vectors are from those of the features, and the share of the largest singular values is rewarded (Chen et al. 2024, arXiv:2309.17002).
    """

    def __init__(self, width: int, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.layers = nn.Sequential(nn.Linear(width, 4 * width), nn.BatchNorm1d(4 * width), nn.ReLU(), nn.Linear(4 * width, width))
        self.scale, self.last = nn.Parameter(torch.ones(width)), nn.Linear(width, 5)

    def read(self, features: Tensor) -> Tensor:
        """What the last layer reads [images, width]."""
        return features if self.kind == "linear" else features + self.scale * self.layers(features)

    def forward(self, features: Tensor) -> Tensor:
        """Logits [images, 5]."""
        found: Tensor = self.last(self.read(features))
        return found

    def punished(self, features: Tensor) -> Tensor:
        """What is added to the loss."""
        if self.kind not in ("covariance", "whole"):
            return features.new_zeros(())
        found = self.read(features)
        total = APART * covariances(found)
        if self.kind == "whole":
            unit = nn.functional.normalize
            values = torch.linalg.svdvals(found)
            total = total + NEAR * nn.functional.mse_loss(unit(found), unit(features)) - LEADING * (values[:FIRST] / values.sum()).mean()
        return total


def covariances(rows: Tensor) -> Tensor:
    """The sum of the squares of the covariances between columns, over their number."""
    centred = rows - rows.mean(dim=0)
    found = centred.T @ centred / (len(rows) - 1)
    return (found.square().sum() - found.diagonal().square().sum()) / rows.shape[1]


def shifted(images: NDArray[Any], random: np.random.Generator) -> list[NDArray[Any]]:
    """Images [images, 64] of 8 x 8 in 0 to 1 at low contrast, with noise, and blurred."""
    square = images.reshape(-1, 8, 8)
    wide = np.pad(square, ((0, 0), (1, 1), (1, 1)), mode="edge")
    blurred = sum(wide[:, down : down + 8, right : right + 8] for down in range(3) for right in range(3)) / 9
    noise = images + 0.25 * random.standard_normal(images.shape)
    return [0.4 * images + 0.3, np.clip(noise, 0, 1), np.asarray(blurred).reshape(images.shape)]
