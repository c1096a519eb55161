"""Classes named by neighbours."""

from __future__ import annotations

import torch
from torch import Tensor


def neighbour_loss(scores: Tensor, same: Tensor, voting: Tensor, neighbours: int | None) -> Tensor:
    """Minus the logarithm of the share of exp(``scores``) [N, M] that lies where ``same`` (bool [N, M]), among the nearest that vote: [N].

    ``voting`` (bool [N, M]) says which may vote; of these the ``neighbours`` with the highest scores do (None: all), and always the best
    that is ``same``. Rows without any such mean nothing, and are finite.
    """
    lowest = torch.finfo(scores.dtype).min
    able = scores.detach().masked_fill(~voting, lowest)
    chosen = voting
    if neighbours is not None and neighbours < scores.shape[1]:
        chosen = torch.zeros_like(voting).scatter_(1, able.topk(neighbours, dim=1).indices, True) & voting
    best = able.masked_fill(~same, lowest).argmax(dim=1, keepdim=True)
    chosen = chosen | (torch.zeros_like(voting).scatter_(1, best, True) & voting & same)
    every = torch.logsumexp(scores.masked_fill(~chosen, lowest), dim=1)
    return every - torch.logsumexp(scores.masked_fill(~(chosen & same), lowest), dim=1)
