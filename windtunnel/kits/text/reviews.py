"""Made-up reviews of several domains, and a small model that guesses a word from those around it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

MASK, GOOD, BAD = 0, 1, 2
SHARED, OWN = 10, 20  # words of each feeling that all domains have, and that a domain has alone
NEUTRAL = 40  # words without feeling: of all domains, and of each
LENGTH, FEELING = 12, 4  # words of a review, and how many of them carry its feeling; the last may be the verdict
STRAY = 0.2  # of words of feeling that are of the other feeling


def vocabulary(domains: int) -> int:
    """How many words there are: a mask, two verdicts, those of all domains and those of each."""
    return 3 + 2 * SHARED + NEUTRAL + domains * (2 * OWN + NEUTRAL)


def feelings(domain: int) -> NDArray[np.int64]:
    """The words of a domain that carry a feeling, bad ones first: [2, words], those of all domains in front."""
    own = 3 + 2 * SHARED + NEUTRAL + domain * (2 * OWN + NEUTRAL)
    every = 3 + np.arange(2 * SHARED).reshape(2, SHARED)
    return np.concatenate([every, own + np.arange(2 * OWN).reshape(2, OWN)], axis=1)


def reviews(random: np.random.Generator, domain: int, labels: NDArray[np.int64], *, shared: float, told: float) -> NDArray[np.int64]:
    """Words [N, 12] of reviews whose feeling is bad (0) or good (1).

    ``shared`` of the words of feeling are those of all domains; ``told`` of the reviews end with their verdict.
    """
    count, words = len(labels), feelings(domain)
    shown = np.where(random.random((count, FEELING)) < STRAY, 1 - labels[:, None], labels[:, None])
    every = random.random((count, FEELING)) < shared
    place = np.where(every, random.integers(SHARED, size=(count, FEELING)), SHARED + random.integers(OWN, size=(count, FEELING)))
    own = 3 + 2 * SHARED + NEUTRAL + domain * (2 * OWN + NEUTRAL) + 2 * OWN
    rest = random.integers(NEUTRAL, size=(count, LENGTH - FEELING))
    rest += np.where(random.random(rest.shape) < 0.5, 3 + 2 * SHARED, own)
    found = np.concatenate([words[shown, place], rest], axis=1)
    verdict = random.random(count) < told
    found[verdict, -1] = np.where(labels[verdict] == 1, GOOD, BAD)
    return np.asarray(found)


def guesser(words: int, width: int, seed: int) -> dict[str, Tensor]:
    """The weights of a model that reads the mean of words, and one layer: small normal numbers."""
    generator = torch.Generator().manual_seed(seed)
    return {
        "embedding": 0.1 * torch.randn(words, width, generator=generator),
        "inner": torch.randn(width, width, generator=generator) / width**0.5,
        "bias": torch.zeros(words),
    }


def read(weights: Mapping[str, Tensor], words: Tensor) -> Tensor:
    """What the model makes of reviews [N, L]: [N, width]."""
    return torch.tanh(5 * weights["embedding"][words].mean(dim=1) @ weights["inner"].T)


def guessed(weights: Mapping[str, Tensor], words: Tensor) -> Tensor:
    """Logits [N, vocabulary] of the masked word."""
    return read(weights, words) @ weights["embedding"].T + weights["bias"]


def masked_loss(weights: Mapping[str, Tensor], words: Tensor, weight: Tensor, random: np.random.Generator) -> Tensor:
    """Cross entropy of one masked word of each review [N, L], drawn in proportion to ``weight`` [vocabulary] of the words."""
    odds = weight[words].double().numpy() + 1e-9
    ends = odds.cumsum(axis=1)
    place = torch.from_numpy((ends < random.random((len(words), 1)) * ends[:, -1:]).sum(axis=1).clip(max=words.shape[1] - 1))
    every = torch.arange(len(words))
    hidden = words.clone()
    hidden[every, place] = MASK
    return torch.nn.functional.cross_entropy(guessed(weights, hidden), words[every, place])
