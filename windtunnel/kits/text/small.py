"""A transformer that is small enough to learn a made-up task in seconds, for experiments: rows of token numbers in, logits out."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from windtunnel.kits.optim.descent import falling_to_a_tenth, take_steps

Rows = NDArray[Any]


class SmallBlock(nn.Module):
    """Attention and an MLP, each behind a norm and added to what came in."""

    def __init__(self, width: int, heads: int, causal: bool) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mixed, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, inputs: Tensor) -> Tensor:
        """[rows, length, width] in and out."""
        rows, length, width = inputs.shape
        parts = self.mixed(self.first(inputs)).view(rows, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        seen = nn.functional.scaled_dot_product_attention(parts[0], parts[1], parts[2], is_causal=self.causal)
        between = inputs + self.out(seen.transpose(1, 2).reshape(rows, length, width))
        found: Tensor = between + self.down(nn.functional.gelu(self.up(self.second(between))))
        return found


class SmallTransformer(nn.Module):
    """Learned positions, blocks, a norm and a head. What is random is drawn from torch's generator."""

    def __init__(self, vocabulary: int, context: int, *, width: int = 64, layers: int = 2, heads: int = 4, causal: bool = True) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(vocabulary, width), nn.Embedding(context, width)
        self.blocks = nn.ModuleList(SmallBlock(width, heads, causal) for _ in range(layers))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, vocabulary)
        for table in (self.tokens, self.places):
            nn.init.normal_(table.weight, std=0.1)

    def states(self, tokens: Tensor) -> list[Tensor]:
        """What every block puts out, [rows, length, width] each."""
        state, found = self.tokens(tokens) + self.places.weight[: tokens.shape[1]], []
        for block in self.blocks:
            state = block(state)
            found.append(state)
        return found

    def read(self, state: Tensor) -> Tensor:
        """Logits of what a block puts out; of an inner one, that is the logit lens."""
        found: Tensor = self.head(self.norm(state))
        return found

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits [rows, length, vocabulary] of int64 ``tokens`` [rows, length]."""
        return self.read(self.states(tokens)[-1])


def made(seed: int, vocabulary: int, context: int, **sizes: Any) -> SmallTransformer:
    """A :class:`SmallTransformer` whose weights are drawn by ``seed`` alone."""
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        return SmallTransformer(vocabulary, context, **sizes)


def losses(model: Any, rows: Tensor) -> Tensor:
    """Nats of every token of ``rows`` int64 [rows, length] but the first, given those before it: [rows, length - 1]."""
    logits = model(rows[:, :-1])
    return nn.functional.cross_entropy(logits.transpose(1, 2), rows[:, 1:], reduction="none")


def learn(
    model: Any,
    rows: Rows,
    counted: Rows,
    random: np.random.Generator,
    *,
    steps: int,
    rate: float,
    batch: int | None = 64,
    decay: float = 0.01,
) -> float:
    """Steps of AdamW on the next tokens of ``rows`` [rows, length] where ``counted`` [rows, length] is true; the last step's loss.

    The rate falls in one line to a tenth of ``rate``. Rows of a step are drawn by ``random``, with replacement; without a
    ``batch`` each step takes all of them.
    """
    tokens, counts = torch.from_numpy(np.ascontiguousarray(rows)).long(), torch.from_numpy(np.ascontiguousarray(counted)).float()

    def loss(step: int) -> torch.Tensor:
        chosen = torch.arange(len(rows)) if batch is None else torch.from_numpy(random.integers(0, len(rows), batch))
        weight = counts[chosen, 1:]
        return (losses(model, tokens[chosen]) * weight).sum() / weight.sum().clamp(min=1)

    return take_steps(torch.optim.AdamW(model.parameters(), rate, weight_decay=decay, fused=True), loss, steps, falling_to_a_tenth)


def written(model: Any, prompts: Rows, length: int, random: np.random.Generator | None = None, *, temperature: float = 1.0) -> Rows:
    """``length`` tokens behind each of ``prompts`` [rows, given], [rows, length]: the likeliest, or with ``random`` drawn."""
    rows = torch.from_numpy(np.ascontiguousarray(prompts)).long()
    with torch.no_grad():
        for _ in range(length):
            logits = model(rows)[:, -1]
            if random is not None:  # the largest of logits with Gumbel noise is a draw from their softmax
                logits = logits / temperature + torch.from_numpy(random.gumbel(size=tuple(logits.shape))).to(logits.dtype)
            rows = torch.cat([rows, logits.argmax(dim=1, keepdim=True)], dim=1)
    return np.asarray(rows[:, prompts.shape[1] :].numpy())
