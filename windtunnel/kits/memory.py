"""Networks that remember what stood before in a row of episodes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from windtunnel.kits.scan import scanned

INPUTS = 6  # numbers at a place


class Memory(nn.Module):
    """Four logits at every place: of a diagonal recurrence (``reset``, or ``carry`` without resets) or of a gated unit (``gru``)."""

    def __init__(self, kind: str, width: int) -> None:
        super().__init__()
        self.kind = kind
        self.rates = nn.Parameter(torch.linspace(-1, 5, width))
        self.enter, self.gated = nn.Linear(INPUTS, width), nn.GRUCell(INPUTS, width)
        self.out = nn.Sequential(nn.Linear(width + INPUTS, width), nn.GELU(), nn.Linear(width, 4))

    def forward(self, inputs: Tensor, begun: Tensor) -> Tensor:
        """``inputs`` [rows, places, 6], ``begun`` 1 where an episode begins [rows, places, 1]."""
        if self.kind == "gru":
            state, found = inputs.new_zeros(len(inputs), self.rates.numel()), []
            for place in range(inputs.shape[1]):
                state = self.gated(inputs[:, place], state * (1 - begun[:, place]))
                found.append(state)
            states = torch.stack(found, dim=1)
        else:
            resets = begun if self.kind == "reset" else torch.zeros_like(begun)
            states = scanned(self.rates.sigmoid(), self.enter(inputs), resets)
        logits: Tensor = self.out(torch.cat([states, inputs], dim=2))
        return logits
