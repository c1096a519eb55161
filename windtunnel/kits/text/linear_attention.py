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


def additive(query: Tensor, key: Tensor, value: Tensor, both_ways: bool = False) -> Tensor:
    """q S with S the running softmax over places of each channel of the key: S = sum over j of exp(k_j) / (sum over i of exp(k_i)) v_j'.

    Qin et al. 2024 (LightNet), arXiv:2405.21022: z_t = z_(t-1) + exp(k_t), S_t = (z_(t-1) / z_t) S_(t-1) + (exp(k_t) / z_t) v_t'.
    ``both_ways`` lets every place see all others, in the same one pass.
    """
    weight = (key - key.amax(dim=2, keepdim=True)).exp()
    if both_ways:
        return query @ ((weight / weight.sum(dim=2, keepdim=True)).transpose(2, 3) @ value)
    scores = (query / weight.cumsum(dim=2).clamp(min=1e-20)) @ weight.transpose(2, 3)
    return scores.masked_fill(~visible(query.shape[2]), 0.0) @ value
