"""What the rows of a batch that other ranks hold are needed for: losses that compare the rows of a step with each other."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def first_row(rows: int) -> int:
    """The place among all rows of a step of the first of this rank's, of which there are ``rows``."""
    return dist.get_rank() * rows if dist.is_initialized() else 0


def gather(values: Tensor) -> Tensor:
    """The ``values`` [rows, ...] of all ranks, one after another; gradients of every rank's loss come back to the rank that holds a row."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return values
    return _Gather.apply(values)  # type: ignore[no-any-return, no-untyped-call]


class _Gather(torch.autograd.Function):
    """torch's own of this name sends every rank's gradient to every other one by one where a backend cannot scatter sums."""

    @staticmethod
    def forward(context: Any, values: Tensor) -> Tensor:
        context.rows = len(values)
        parts = [torch.empty_like(values) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, values.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        whole = gradients[0].contiguous()
        dist.all_reduce(whole)
        begin = first_row(context.rows)
        return whole[begin : begin + context.rows]
