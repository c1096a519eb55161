"""Adapters that are not of low rank between two thin matrices: shards, blocks, columns, channels.

Each is what :func:`windtunnel.kits.weights.adapters.adapt` puts in place of a weight matrix.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from windtunnel.kits.weights.adapters import Adapter


class ShardAdapter(Adapter):
    """Adds ``block`` [rank, out] times the sum of the inputs' shards of ``rank`` entries each; the last one is filled up with zeros."""

    def __init__(self, block: Tensor) -> None:
        super().__init__()
        self.block = nn.Parameter(block)

    def change(self) -> Tensor:
        """As for every adapter."""
        inside, rank = self.matrix.shape[1], len(self.block)
        return self.block.T.repeat(1, -(-inside // rank))[:, :inside]

    def added(self, x: Tensor, plain: Tensor) -> Tensor:
        """As for every adapter."""
        rank = len(self.block)
        shards = functional.pad(x, (0, -x.shape[-1] % rank)).unflatten(-1, (-1, rank))
        return functional.linear(shards.sum(dim=-2), self.block.T)


class BlockAdapter(Adapter):
    """Adds ``W_ij M_i + M_i`` to every block W_ij [rank, rank] of the matrix; ``blocks`` [out / rank, rank, rank] holds the M_i."""

    def __init__(self, blocks: Tensor) -> None:
        super().__init__()
        self.blocks = nn.Parameter(blocks)

    def change(self) -> Tensor:
        """As for every adapter."""
        rank = self.blocks.shape[-1]
        by_block = self.matrix.unflatten(1, (-1, rank)).unflatten(0, (-1, rank)).permute(2, 0, 1, 3)
        return (by_block @ self.blocks + self.blocks).permute(1, 2, 0, 3).flatten(2).flatten(0, 1)

    def added(self, x: Tensor, plain: Tensor) -> Tensor:
        """As for every adapter."""
        return functional.linear(x, self.change().to(x.dtype))


class ColumnAdapter(Adapter):
    """Trains the columns ``chosen`` of the matrix themselves; ``columns`` [out, count] holds them, and :meth:`write` puts them there."""

    chosen: Tensor

    def __init__(self, columns: Tensor, chosen: Tensor) -> None:
        """``chosen``: int64 [count]. It is derived anew, so the state does not hold it."""
        super().__init__()
        self.columns = nn.Parameter(columns)
        self.register_buffer("chosen", chosen, persistent=False)

    def change(self) -> Tensor:
        """As for every adapter."""
        matrix = self.matrix
        return matrix.index_copy(1, self.chosen, self.columns.to(matrix.dtype)) - matrix

    @torch.no_grad()
    def write(self) -> None:
        """Put the columns as they are now into the matrix."""
        self.matrix.index_copy_(1, self.chosen, self.columns.to(self.weight.dtype))

    def forward(self, x: Tensor) -> Tensor:
        """[..., in] to [..., out]: one product, as if nothing were trained."""
        y: Tensor = PartialLinear.apply(x, self.matrix, self.columns, self.chosen)  # type: ignore[no-untyped-call]
        return y if self.bias is None else y + self.bias.to(y.dtype)


class PartialLinear(torch.autograd.Function):
    """``x W^T`` of which a few columns of W have a gradient: of x, only the entries that meet them are kept for the backward pass."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, columns: Tensor, chosen: Tensor) -> Tensor:
        """``x`` [..., in], ``weight`` [out, in] in which ``columns`` [out, count] stand at ``chosen`` [count]; returns [..., out]."""
        ctx.save_for_backward(x.index_select(-1, chosen), weight)
        ctx.dtype = columns.dtype
        return functional.linear(x, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of x and of the columns."""
        entries, weight = ctx.saved_tensors
        of_x = (upstream @ weight.to(upstream.dtype)).to(entries.dtype) if ctx.needs_input_grad[0] else None
        of_columns = upstream.flatten(0, -2).T @ entries.to(upstream.dtype).flatten(0, -2)
        return of_x, None, of_columns.to(ctx.dtype), None


class ChannelAdapter(Adapter):
    """Multiplies the output, bias and all, by ``scale`` [out] and adds ``shift`` [out], where there is one."""

    shift: nn.Parameter | None

    def __init__(self, scale: Tensor, shift: Tensor | None) -> None:
        super().__init__()
        self.scale = nn.Parameter(scale)
        self.register_parameter("shift", None if shift is None else nn.Parameter(shift))

    def change(self) -> Tensor:
        """As for every adapter."""
        return (self.scale - 1)[:, None] * self.matrix

    def bias_change(self) -> Tensor | None:
        """As for every adapter."""
        if self.bias is None:
            return None
        scaled = (self.scale - 1) * self.bias
        return scaled if self.shift is None else scaled + self.shift

    def added(self, x: Tensor, plain: Tensor) -> Tensor:
        """As for every adapter."""
        scaled = plain * (self.scale - 1).to(plain.dtype)
        return scaled if self.shift is None else scaled + self.shift.to(plain.dtype)
