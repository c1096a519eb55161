"""Weights rounded to a few bits in groups, and modules that compute with rounded weights while whole ones train."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from windtunnel.core.errors import PartError


def rounded(weight: Tensor, bits: int, group: int, symmetric: bool, name: str = "the matrix") -> Tensor:
    """``weight`` [out, in] rounded to the nearest of 2^bits values in each group of ``group`` inputs of an output, in its own dtype.

    Symmetric values are multiples of a scale, the largest magnitude of the group over 2^(bits - 1) - 1; asymmetric ones begin at the
    least of the group. Scales and least values are rounded to 16 bits, as they would be stored.

    Raises:
        PartError: for the matrix ``name`` where ``group`` does not divide its inputs.
    """
    if weight.shape[1] % group:
        fits = [size for size in range(2, weight.shape[1] + 1) if weight.shape[1] % size == 0 and size <= 4 * group]
        raise PartError(f"{name}: groups of {group} do not divide its {weight.shape[1]} inputs; groups of these sizes do: {fits}")
    groups = weight.float().unflatten(1, (-1, group))
    least = torch.zeros_like(groups[..., :1]) if symmetric else stored(groups.amin(dim=-1, keepdim=True))
    most = 2 ** (bits - 1) - 1 if symmetric else 2**bits - 1
    span = groups.abs().amax(dim=-1, keepdim=True) if symmetric else groups.amax(dim=-1, keepdim=True) - least
    scale = stored(span / most)
    steps = torch.where(scale > 0, (groups - least) / scale, 0.0).round().clamp(-most if symmetric else 0, most)
    return (steps * scale + least).flatten(1).to(weight.dtype)


def stored(value: Tensor) -> Tensor:
    """``value`` as 16 bits hold it."""
    return value.half().float()


def adapted_group(weight: Tensor, least: int, threshold: float) -> int:
    """A group size for ``weight`` [out, in]: all inputs, halved while that lowers the mean range of a group by more than ``threshold``.

    Never below ``least``; a size that has no half ends it.
    """

    def mean_range(size: int) -> Tensor:
        return weight.float().abs().unflatten(1, (-1, size)).amax(dim=-1).mean()

    size = weight.shape[1]
    while size % 2 == 0 and size // 2 >= least and bool(mean_range(size // 2) < (1 - threshold) * mean_range(size)):
        size //= 2
    return size


class Rounded(nn.Module):
    """A weight matrix that trains whole and computes rounded; its gradient is that of the rounded one (straight through)."""

    weight: nn.Parameter
    bias: nn.Parameter | None
    transposed: bool
    rounding: dict[str, Any]

    def shown(self) -> Tensor:
        """The rounded matrix [out, in], without gradient."""
        weight = self.weight.T if self.transposed else self.weight
        return rounded(weight.detach(), **self.rounding)

    def forward(self, x: Tensor) -> Tensor:
        """[..., in] to [..., out]."""
        weight = self.weight.T if self.transposed else self.weight
        return functional.linear(x, self.shown() + (weight - weight.detach()), self.bias)
