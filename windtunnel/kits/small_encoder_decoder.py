"""A small encoder and decoder over tokens, for experiments; ``descend`` of the small decoder trains it."""

from __future__ import annotations

import torch
from torch import nn


class SmallEncoderDecoder(nn.Module):
    """Logits of each token that is written, of what is read and what was written before: [rows, written, ``tokens``].

    Both have two layers of four heads, learned positions and norms before attention and the inner layer, which is four times as wide; they
    share the table of tokens. The token ``blank`` is not read.
    """

    def __init__(self, tokens: int, longest: int, *, width: int = 48, blank: int | None = 0, seed: int = 0) -> None:
        super().__init__()
        self.blank = blank
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.table = nn.Embedding(tokens, width)
            self.read_at, self.write_at = (nn.Parameter(torch.randn(longest, width) * 0.02) for _ in range(2))
            reading = nn.TransformerEncoderLayer(width, 4, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True)
            writing = nn.TransformerDecoderLayer(width, 4, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True)
            self.encoder = nn.TransformerEncoder(reading, 2, nn.LayerNorm(width), enable_nested_tensor=False)
            self.decoder = nn.TransformerDecoder(writing, 2, nn.LayerNorm(width))
            self.write = nn.Linear(width, tokens)

    def _blank(self, given: torch.Tensor) -> torch.Tensor | None:
        return None if self.blank is None else torch.zeros(given.shape).masked_fill(given == self.blank, -torch.inf)

    def states(self, given: torch.Tensor) -> torch.Tensor:
        """What the encoder makes of ``given`` int64 [rows, places]: [rows, places, width]."""
        found = self.table(given) + self.read_at[: given.shape[1]]
        return torch.as_tensor(self.encoder(found, src_key_padding_mask=self._blank(given)))

    def forward(self, given: torch.Tensor, written: torch.Tensor, states: torch.Tensor | None = None) -> torch.Tensor:
        """As the class says; ``states`` are those of ``given``, where they are known."""
        memory = self.states(given) if states is None else states
        mask = nn.Transformer.generate_square_subsequent_mask(written.shape[1])
        found = self.table(written) + self.write_at[: written.shape[1]]
        found = self.decoder(found, memory, tgt_mask=mask, memory_key_padding_mask=self._blank(given), tgt_is_causal=True)
        return torch.as_tensor(self.write(found))
