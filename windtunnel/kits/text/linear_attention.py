"""Attention, and recurrences that take its place, all in the form that computes a whole sequence at once.

Queries, keys and values are [rows, heads, places, size]; a place sees itself and what stands before it.
"""

from __future__ import annotations

import torch
from torch import Tensor


def visible(places: int, window: int | None = None) -> Tensor:
    """Which places each place sees, bool [places, places]: all up to itself, or the last ``window`` of them."""
    behind = torch.arange(places)[:, None] - torch.arange(places)
    return (behind >= 0) if window is None else (behind >= 0) & (behind < window)


def softmaxed(query: Tensor, key: Tensor, value: Tensor, window: int | None = None) -> Tensor:
    """Plain attention, perhaps of a window."""
    return torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=visible(query.shape[2], window))


def gated(query: Tensor, key: Tensor, value: Tensor, kept: Tensor) -> Tensor:
    """q S with S = diag(exp kept) S + k v' at every place: ``kept`` [rows, heads, places, size] are logarithms, 0 or below.

    Gated linear attention (Yang et al. 2024, arXiv:2312.06635). What is kept over the sequence may not be less than about e^-80.
    """
    along = kept.cumsum(dim=2)
    scores = (query * along.exp()) @ (key * (-along).exp()).transpose(2, 3)
    return scores.masked_fill(~visible(query.shape[2]), 0.0) @ value


def additive(query: Tensor, key: Tensor, value: Tensor, *, both_ways: bool = False) -> Tensor:
    """q S with S = diag(z before / z) S + (exp k / z) v' at every place, where z is the running sum of exp k.

    Each channel of a key weights places by exp(k_i) / sum of exp(k_j) over what is seen: a softmax over places, in which order plays no
    part (Qin et al. 2024, LightNet, arXiv:2405.21022). ``both_ways`` every place sees all, and there is one sum for all of them.
    """
    weights = (key - key.amax(dim=2, keepdim=True)).exp()
    if both_ways:
        return query @ ((weights / weights.sum(dim=2, keepdim=True)).transpose(2, 3) @ value)
    scores = (query / weights.cumsum(dim=2).clamp(min=1e-20)) @ weights.transpose(2, 3)
    return scores.masked_fill(~visible(query.shape[2]), 0.0) @ value
