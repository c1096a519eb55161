"""What the rows of a batch that other ranks hold are needed for: losses that compare the rows of a step with each other."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

_ALONE: list[None] = []  # one for each block within which the rows of other ranks do not matter


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Compare no rows but this rank's inside the block: other ranks have not come here, or have the same rows."""
    _ALONE.append(None)
    try:
        yield
    finally:
        _ALONE.pop()


def _ranks() -> int:
    return dist.get_world_size() if dist.is_initialized() and not _ALONE else 1


def first_row(rows: int) -> int:
    """The place among all rows of a step of the first of this rank's, of which there are ``rows``."""
    return dist.get_rank() * rows if _ranks() > 1 else 0


def gather(values: Tensor) -> Tensor:
    """The ``values`` [rows, ...] of all ranks, one after another; gradients of every rank's loss come back to the rank that holds a row."""
    return _Gather.apply(values) if _ranks() > 1 else values  # type: ignore[no-any-return, no-untyped-call]


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
