"""Scattering coefficients of small images: moduli of wavelets of wavelets, which nothing is learned for."""

from __future__ import annotations

import math

import torch
from torch import Tensor

SCALES, ANGLES = 2, 4  # wavelets of the first and second octave, in so many directions


def wavelets(size: int) -> tuple[Tensor, Tensor]:
    """The transforms of the wavelets [scales, angles, size, size] and of the average [size, size], real and at fftfreq's frequencies.

    Morlet wavelets: a Gaussian around a frequency of 3 pi / 4 over 2 ** scale, less as much of one around 0 as makes the mean 0.
    """
    axis = 2 * math.pi * torch.fft.fftfreq(size)
    down, across = torch.meshgrid(axis, axis, indexing="ij")
    found = []
    for scale in range(SCALES):
        spread, centre = 0.8 * 2**scale, 0.75 * math.pi / 2**scale
        for angle in range(ANGLES):
            turn = math.pi * angle / ANGLES
            along, beside = across * math.cos(turn) + down * math.sin(turn), down * math.cos(turn) - across * math.sin(turn)

            def bump(at: float, along: Tensor = along, beside: Tensor = beside, spread: float = spread) -> Tensor:
                return torch.exp(-(spread**2) * ((along - at) ** 2 + 4 * beside**2) / 2)

            found.append(bump(centre) - bump(centre)[0, 0] / bump(0.0)[0, 0] * bump(0.0))
    low = torch.exp(-((0.8 * 2**SCALES) ** 2) * (down**2 + across**2) / 2)
    return torch.stack(found).view(SCALES, ANGLES, size, size), low


def scattered(images: Tensor) -> Tensor:
    """Coefficients [images, places, 25] of images [images, size, size]: of order 0, 1 and 2, averaged and read at every fourth pixel.

    Bruna and Mallat 2013, as a fixed front of a network in Kinakh et al. 2021, arXiv:2108.13939. Borders are joined.
    """
    size = images.shape[-1]
    bank, low = wavelets(size)

    def through(filters: Tensor, maps: Tensor) -> Tensor:
        return torch.fft.ifft2(torch.fft.fft2(maps) * filters)

    def averaged(maps: Tensor) -> Tensor:
        return through(low, maps).real[..., 2::4, 2::4].flatten(-2)

    first = through(bank.flatten(0, 1), images[:, None]).abs()
    second = through(bank[1], first[:, :ANGLES, None]).abs()  # of what the fine wavelets find, the coarse ones
    every = torch.cat([averaged(images)[:, None], averaged(first), averaged(second.flatten(1, 2))], dim=1)
    return every.transpose(1, 2)
