"""A language model that sees a few words back, a network of one hidden layer (Bengio et al. 2003), and made languages for it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from windtunnel.kits.optim.descent import falling, take_steps
from windtunnel.kits.vectors import picked, softmax

BACK = 2  # words that are seen
Words = NDArray[Any]


class WindowModel(nn.Module):
    """Logits [rows, words] of the next word by the last ones, int64 [rows, BACK]."""

    def __init__(self, words: int, *, width: int = 16, hidden: int = 64) -> None:
        super().__init__()
        self.table = nn.Embedding(words, width)
        self.inner, self.outer = nn.Linear(BACK * width, hidden), nn.Linear(hidden, words)

    def forward(self, rows: Tensor) -> Tensor:
        """As said."""
        found: Tensor = self.outer(torch.tanh(self.inner(self.table(rows).flatten(1))))
        return found


def made(seed: int, words: int, **sizes: int) -> WindowModel:
    """A model whose weights are drawn by ``seed`` alone."""
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        return WindowModel(words, **sizes)


def windows(texts: Words) -> Words:
    """Every run of BACK + 1 words of ``texts`` [texts, length], [runs, BACK + 1]."""
    return np.lib.stride_tricks.sliding_window_view(texts, BACK + 1, axis=1).reshape(-1, BACK + 1)


def learn(
    model: WindowModel, sources: list[Words], shares: list[float], random: np.random.Generator, *, steps: int, rate: float, batch: int = 128
) -> None:
    """Steps of Adam on runs of words [runs, BACK + 1], of which each source gives a share of every batch; the rate falls to nothing."""
    odds = np.array(shares) / np.sum(shares)

    def loss(step: int) -> torch.Tensor:
        counts = random.multinomial(batch, odds)
        rows = np.concatenate([one[random.integers(len(one), size=count)] for one, count in zip(sources, counts, strict=True)])
        tokens = torch.from_numpy(rows)
        return nn.functional.cross_entropy(model(tokens[:, :-1]), tokens[:, -1])

    take_steps(torch.optim.Adam(model.parameters(), rate), loss, steps, falling)


def nats(model: WindowModel, rows: Words) -> float:
    """A word of runs [runs, BACK + 1]."""
    tokens = torch.from_numpy(np.ascontiguousarray(rows))
    with torch.no_grad():
        return float(nn.functional.cross_entropy(model(tokens[:, :-1]), tokens[:, -1]))


def language(words: int, random: np.random.Generator, *, like: Words | None = None, shared: float = 0.0, sharpness: float = 2.0) -> Words:
    """What each of the last two words says of the next, [BACK, words, words], normal of deviation ``sharpness``; :func:`chances` add it up.

    ``like`` is another language of the same sharpness, with which this one has a correlation of ``shared``.
    """
    own = sharpness * random.standard_normal((BACK, words, words))
    return np.asarray(own if like is None else shared * like + np.sqrt(1 - shared**2) * own)


def chances(evidence: Words) -> Words:
    """[words, words, words]: of the next word, by the word before last and the last."""
    logits = evidence[0][:, None] + evidence[1][None]
    return softmax(logits)


def drawn(odds: Words, count: int, length: int, random: np.random.Generator) -> Words:
    """Texts int64 [count, length] of a language with these :func:`chances`."""
    found = random.integers(len(odds), size=(count, length))
    for place in range(BACK, length):
        found[:, place] = picked(odds[found[:, place - 2], found[:, place - 1]], random)
    return found
