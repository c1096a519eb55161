"""What a fine-tuned weight has moved by: chosen, scaled and added to another weight. And how models of one shape are told.

Deltas are differences of one tensor of two models, in float32 or wider.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

from windtunnel.core.errors import PartError

ROUNDING = 1e-9  # of a share times a count: 0.29 of 100 are 29


def random_mask(delta: Tensor, density: float, generator: torch.Generator) -> Tensor:
    """A bool tensor of the shape of ``delta``: each entry is True with probability ``density``, whatever the others are."""
    return (torch.rand(delta.shape, generator=generator) < density).to(delta.device)


def size_mask(delta: Tensor, density: float, drop_top: float, per: Literal["row", "tensor"], name: str) -> Tensor:
    """A bool tensor of the shape of ``delta``: without the share ``drop_top`` of largest magnitude, the share ``density`` that follow.

    ``per`` row counts shares within each row (the last axis; a vector is one row), ``tensor`` within all of it; both are rounded down.

    Raises:
        PartError: naming the tensor ``name`` where rows are so short that nothing is kept.
    """
    rows = delta.reshape(1, -1) if per == "tensor" or delta.ndim < 2 else delta.reshape(-1, delta.shape[-1])
    length = rows.shape[1]
    dropped, kept = int(drop_top * length + ROUNDING), int(density * length + ROUNDING)
    if not kept:
        raise PartError(f"{name}: {density:g} of {length} entries is less than one; raise density or set per: tensor")
    order = rows.abs().topk(dropped + kept, dim=1).indices[:, dropped:]
    return torch.zeros_like(rows, dtype=torch.bool).scatter_(1, order, True).view(delta.shape)


def without_component(delta: Tensor, along: Tensor) -> Tensor:
    """``delta`` without its component along the tensor ``along``; as it is where that is zero."""
    square = (along * along).sum()
    return delta - ((along * delta).sum() / square) * along if bool(square > 0) else delta


def refuse_other_weights(first: Mapping[str, Tensor], other: Mapping[str, Tensor], who: str) -> None:
    """Raise PartError, beginning with ``who``, where ``other`` has tensors of other names or shapes than ``first``."""

    def shape(state: Mapping[str, Tensor], name: str) -> torch.Size | None:
        return state[name].shape if name in state else None

    differ = sorted(name for name in first.keys() | other.keys() if shape(first, name) != shape(other, name))
    if differ:
        raise PartError(f"{who} has other weights than the first: {differ[0]}, and {len(differ)} in all differ")


def by_shift_ranks(base: Tensor, deltas: Sequence[Tensor]) -> Tensor:
    """The sum of ``deltas`` [out, in] or [in], each column of each weighted by how far it moved among the columns of its model.

    Yu et al. 2024, arXiv:2408.03092 (WIDEN), as in their code: a column has a length and a direction. How far each has moved, the length by
    its size and the direction by one less the cosine, is replaced by its rank in the model, from 0 to below 1; a softmax over models
    makes weights of ranks, and 1 takes their place where the rank is above the mean rank. The weights by length and by direction are
    averaged. A vector has no directions, and its moves stay as they are.
    """
    every = torch.stack(list(deltas))
    if base.ndim < 2:
        return (_shift_weights(every.abs()) * every).sum(dim=0)
    length = base.norm(dim=0)
    longer = torch.stack([((base + delta).norm(dim=0) - length).abs() for delta in deltas])
    aside = torch.stack([1 - torch.cosine_similarity(base + delta, base, dim=0) for delta in deltas])
    both = [_shift_weights(moved.argsort(dim=1).argsort(dim=1) / moved.shape[1]) for moved in (longer, aside)]
    return ((both[0] + both[1])[:, None] / 2 * every).sum(dim=0)


def _shift_weights(moved: Tensor) -> Tensor:
    """Of each column [models, in] in the sum, from how far it has moved."""
    return torch.where(moved > moved.mean(dim=1, keepdim=True), torch.ones_like(moved), moved.softmax(dim=0))


def elected(deltas: Sequence[Tensor], density: float) -> Tensor:
    """The mean of those of ``deltas`` that agree with the sign of their sum, of each the share ``density`` of largest magnitude.

    Yadav et al. 2023, arXiv:2306.01708 (TIES).
    """
    trimmed = torch.stack([delta * size_mask(delta, density, 0.0, "tensor", "a difference") for delta in deltas])
    agree = (trimmed.sign() == trimmed.sum(dim=0).sign()) & (trimmed != 0)
    return (trimmed * agree).sum(dim=0) / agree.sum(dim=0).clamp(min=1)
