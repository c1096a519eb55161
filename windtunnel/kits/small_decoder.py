"""A small decoder over rows of vectors or tokens, and its training on batches that are drawn: the learner of experiments."""

from __future__ import annotations

from collections.abc import Callable

import torch

from windtunnel.kits.optim.descent import take_steps, warmed_cosine


class SmallDecoder(torch.nn.Module):
    """Of each place of a row, what the places up to it tell: [rows, places, ``outputs``].

    Rows are float32 [rows, places, ``inputs``], or with ``tokens`` int64 [rows, places] below ``inputs``. Positions are learned, norms
    stand before attention and before the inner layer, which is four times as wide. ``both_ways`` lets places see those behind them too:
    all of them, or, as a number, so many that a row begins with.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        longest: int,
        *,
        width: int = 64,
        layers: int = 2,
        heads: int = 4,
        tokens: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.read: torch.nn.Module = torch.nn.Embedding(inputs, width) if tokens else torch.nn.Linear(inputs, width)
            self.positions = torch.nn.Parameter(torch.randn(longest, width) * 0.02)
            block = torch.nn.TransformerEncoderLayer(width, heads, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True)
            self.blocks = torch.nn.TransformerEncoder(block, layers, torch.nn.LayerNorm(width), enable_nested_tensor=False)
            self.write = torch.nn.Linear(width, outputs)

    def states(self, rows: torch.Tensor, both_ways: bool | int = False) -> torch.Tensor:
        """What stands before the last layer, [rows, places, width]."""
        return self.through(self.read(rows), both_ways)

    def through(self, vectors: torch.Tensor, both_ways: bool | int = False) -> torch.Tensor:
        """The same of rows that were read [rows, places, width]."""
        count = vectors.shape[1]
        found = vectors + self.positions[:count]
        mask = None if both_ways is True else torch.nn.Transformer.generate_square_subsequent_mask(count)
        if mask is not None:
            mask[:, : int(both_ways)] = 0
        return torch.as_tensor(self.blocks(found, mask=mask, is_causal=both_ways is False))

    def forward(self, rows: torch.Tensor, both_ways: bool | int = False) -> torch.Tensor:
        """What the class says, of ``rows``."""
        return torch.as_tensor(self.write(self.states(rows, both_ways)))


def descend(network: torch.nn.Module, loss_of: Callable[[int], torch.Tensor], steps: int, rate: float) -> None:
    """So many steps of AdamW on ``loss_of(step)``: gradients of norm 1 at most, a short warm-up, then a cosine down to nothing."""
    chosen = [weight for weight in network.parameters() if weight.requires_grad]
    network.train()
    take_steps(torch.optim.AdamW(chosen, rate, weight_decay=0.0, fused=True), loss_of, steps, warmed_cosine, clip=1.0)
    network.eval()
