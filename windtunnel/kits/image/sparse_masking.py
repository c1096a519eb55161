"""A small network of convolutions that learns without labels: by drawing what was masked, or from two views."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from windtunnel.kits.image.patches import to_patches
from windtunnel.kits.image.views import cropped, lit, moved

WIDTHS, STRIDE = (12, 24, 48), 4  # numbers at each scale, and pixels of the coarsest place, which is what is masked


class MaskedNorm(nn.BatchNorm2d):
    """Normalisation by the mean and deviation of the places that are seen, [images, 1, rows, columns]; the others stay 0."""

    def over(self, found: Tensor, seen: Tensor | None) -> Tensor:
        """Ordinary where all is seen."""
        if seen is None:
            return torch.as_tensor(self(found))
        rows = found.movedim(1, 3)[seen[:, 0]]
        normed = functional.batch_norm(rows, None, None, self.weight, self.bias, training=True, eps=self.eps)
        if self.training and self.running_mean is not None and self.running_var is not None:
            with torch.no_grad():
                self.running_mean.lerp_(rows.mean(dim=0), 0.1)
                self.running_var.lerp_(rows.var(dim=0), 0.1)
        full = found.new_zeros(found.movedim(1, 3).shape)
        full[seen[:, 0]] = normed
        return full.movedim(3, 1)


class Convolutions(nn.Module):
    """Three scales of images [N, 3, size, size]: a convolution, and at the coarser two one of stride 2 before it.

    With ``seen`` [N, 1, size / STRIDE, size / STRIDE] what comes out of every layer is 0 where nothing is seen, at each scale (SparK, Tian
    et al. 2023, arXiv:2301.03580, by masks in the place of sparse convolutions, which give the same numbers).
    """

    def __init__(self) -> None:
        super().__init__()
        sizes = [
            (3, WIDTHS[0], 1),
            (WIDTHS[0], WIDTHS[1], 2),
            (WIDTHS[1], WIDTHS[1], 1),
            (WIDTHS[1], WIDTHS[2], 2),
            (WIDTHS[2], WIDTHS[2], 1),
        ]
        self.layers = nn.ModuleList(nn.Conv2d(read, out, 3, stride, padding=1, bias=False) for read, out, stride in sizes)
        self.norms = nn.ModuleList(MaskedNorm(out) for _, out, _ in sizes)

    def forward(self, images: Tensor, seen: Tensor | None = None) -> list[Tensor]:
        """What stands at each scale, the finest first."""
        found, kept = images if seen is None else images * spread(seen, images.shape[-1]), []
        for place, (layer, norm) in enumerate(zip(self.layers, self.norms, strict=True)):
            found = layer(found)
            there = None if seen is None else spread(seen, found.shape[-1])
            found = functional.relu(norm.over(found, there))  # type: ignore[operator]
            if place in (0, 2, 4):
                kept.append(found)
        return kept

    def pooled(self, images: Tensor) -> Tensor:
        """The mean of the coarsest scale [N, numbers]."""
        return self(images)[-1].mean(dim=(2, 3))


class Redrawn(nn.Module):
    """Draws masked places from all scales: each gets a learned vector where nothing was seen, and joins the one above it, enlarged.

    The target is each place's pixels less their mean, over their deviation; the loss is the squared distance at masked places. ``sparse``
    off masks the pixels alone: convolutions then run over the gaps, and scales have no learned vectors.
    """

    def __init__(self, network: Convolutions, *, sparse: bool) -> None:
        super().__init__()
        self.network, self.sparse = network, sparse
        self.empty = nn.ParameterList(0.02 * torch.randn(width, 1, 1) for width in WIDTHS)
        self.project = nn.ModuleList(nn.Conv2d(width, 24, 1) for width in WIDTHS)
        self.mix = nn.ModuleList(nn.Conv2d(24, 24, 3, padding=1) for _ in WIDTHS)
        self.draw = nn.Conv2d(24, 3, 1)

    def loss(self, images: Tensor, seen: Tensor) -> Tensor:
        """Of images [N, 3, size, size] of which ``seen`` [N, 1, places, places] is not masked."""
        scales = self.network(images, seen) if self.sparse else self.network(images * spread(seen, images.shape[-1]))
        found: Tensor | None = None
        for place in (2, 1, 0):
            one = scales[place]
            if self.sparse:
                one = torch.where(spread(seen, one.shape[-1]), one, self.empty[place])
            one = self.project[place](one)
            if found is not None:
                one = one + functional.interpolate(found, scale_factor=2)
            found = functional.relu(self.mix[place](one))
        patches, truth = to_patches(self.draw(found), STRIDE), to_patches(images, STRIDE)
        truth = (truth - truth.mean(dim=2, keepdim=True)) / (truth.var(dim=2, keepdim=True) + 1e-6).sqrt()
        return (patches - truth).square().mean(dim=2)[~seen.flatten(1)].mean()


def spread(seen: Tensor, size: int) -> Tensor:
    """``seen`` [N, 1, places, places] at ``size`` pixels."""
    times = size // seen.shape[-1]
    return seen.repeat_interleave(times, 2).repeat_interleave(times, 3)


def shown(images: int, places: int, ratio: float, random: torch.Generator) -> Tensor:
    """Which places are seen, bool [images, 1, places, places]: ``ratio`` of each image is masked."""
    order = torch.rand(images, places * places, generator=random).argsort(dim=1).argsort(dim=1)
    return (order >= round(ratio * places * places)).view(images, 1, places, places)


def view(images: np.ndarray, random: np.random.Generator) -> Tensor:
    """Another look of images [N, 3, size, size]: cut to 0.6 of its area at least, moved, mirrored, lit and tinted anew, with noise."""
    found = lit(moved(cropped(images, random, 0.6), random, 2, mirror=True), random, 0.4)
    tint = random.uniform(-0.4, 0.4, (len(images), 3, 1, 1))
    return torch.from_numpy(found + tint + 0.05 * random.standard_normal(images.shape)).float()
