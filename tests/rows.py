"""Random rows of text as the loader makes them, and the vocabulary that they are of."""

from __future__ import annotations

import numpy as np
import torch

from windtunnel.kits.text.vocabulary import Vocabulary

SPECIAL, SIZE = 40, 256
TOKEN_BYTES = np.where(np.arange(SIZE) < SPECIAL, 0, 1 + np.arange(SIZE) % 4).astype(np.int32)
VOCABULARY = Vocabulary(
    size=SIZE,
    document=0,
    pad=1,
    mask=2,
    spans=tuple(range(10, SPECIAL)),
    modes={"R": 3, "S": 4, "X": 5},
    token_bytes=TOKEN_BYTES,
    word_starts=np.arange(SIZE) % 3 == 0,
)


def make_rows(seed: int, sequences: int = 4, context: int = 32, density: float = 0.05, padding: float = 0.0) -> dict[str, np.ndarray]:
    """Random rows as the loader makes them: packed pieces, some rows padded at the end."""
    random = np.random.default_rng(seed)
    shape = (sequences, context + 1)
    begins = random.random(shape) < density
    tokens = np.where(begins, VOCABULARY.document, random.integers(SPECIAL, SIZE, shape))
    begins[:, 0] = True
    documents = np.cumsum(begins, axis=1) - 1
    column = np.broadcast_to(np.arange(context + 1), shape)
    positions = column - np.maximum.accumulate(np.where(begins, column, 0), axis=1)
    kept = np.where(random.random(sequences) < padding, random.integers(2, context + 1, sequences), context + 1)
    outside = column >= kept[:, None]
    return {
        "tokens": np.where(outside, VOCABULARY.pad, tokens),
        "documents": np.where(outside, -1, documents),
        "positions": np.where(outside, 0, positions),
        "sources": np.zeros(sequences, np.int64),
    }


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def tensors(batch: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    return {key: torch.from_numpy(value) for key, value in batch.items()}
