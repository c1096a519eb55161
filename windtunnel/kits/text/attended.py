"""Which words of a document the first place of a small encoder attends to, which learned as BERT did."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from windtunnel.kits.small_decoder import descend
from windtunnel.kits.text.small import SmallTransformer, made

FIRST, MASK, BLANK, WORD = range(4)  # tokens; words follow
STRETCH = 16  # words; two of them stand behind the first place
BATCH, MASKED, RATE = 32, 0.15, 2e-3


def attended(documents: Sequence[Sequence[int]], words: int, steps: int, seed: int) -> NDArray[Any]:
    """The attention of the last layer from the first place, a mean over heads, summed over the places of a word: [documents, words].

    ``documents`` are numbers of words below ``words``, one at least. An encoder of two layers learns from them, for ``steps``, masked words
    and from the first place whether the second of two stretches of 16 words follows the first, which is so for half (Devlin et al. 2019,
    arXiv:1810.04805). Then each document is read in pieces of two stretches, each of which gives as much attention as it has words.
    """
    random = np.random.default_rng(seed)
    model = made(seed, WORD + words, 1 + 2 * STRETCH, width=48, causal=False)
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        follows = nn.Linear(48, 1)

    def stretch(document: Sequence[int], place: int) -> list[int]:
        found = [WORD + word for word in document[place : place + STRETCH]]
        return found + [BLANK] * (STRETCH - len(found))

    def loss(step: int) -> Tensor:
        rows, right = [], random.random(BATCH) < 0.5
        for one in right:
            document = documents[int(random.integers(len(documents)))]
            place = int(random.integers(max(1, len(document) - 2 * STRETCH + 1)))
            other = document if one else documents[int(random.integers(len(documents)))]
            behind = place + STRETCH if one else int(random.integers(max(1, len(other) - STRETCH + 1)))
            rows.append([FIRST, *stretch(document, place), *stretch(other, behind)])
        tokens = torch.tensor(rows)
        gone = torch.from_numpy(random.random(tokens.shape) < MASKED) & (tokens >= WORD)
        states = model.norm(model.states(tokens.masked_fill(gone, MASK))[-1])
        told = nn.functional.cross_entropy(model.head(states[gone]), tokens[gone])
        return told + nn.functional.binary_cross_entropy_with_logits(follows(states[:, 0])[:, 0], torch.from_numpy(right).float())

    descend(nn.ModuleList([model, follows]), loss, steps, RATE)
    found = np.zeros((len(documents), words))
    for row, document in zip(found, documents, strict=True):
        pieces = [[FIRST, *stretch(document, place), *stretch(document, place + STRETCH)] for place in range(0, len(document), 2 * STRETCH)]
        tokens = torch.tensor(pieces)
        seen = attention(model, tokens)[:, 1:].masked_fill(tokens[:, 1:] == BLANK, 0)
        seen = seen / seen.sum(dim=1, keepdim=True) * (tokens >= WORD).sum(dim=1, keepdim=True) / len(document)
        real = tokens[:, 1:] >= WORD
        np.add.at(row, (tokens[:, 1:][real] - WORD).numpy(), seen[real].double().numpy())
    return found


def attention(model: SmallTransformer, tokens: Tensor) -> Tensor:
    """Of the last layer from the first place to all, a mean over heads: [rows, places]."""
    with torch.no_grad():
        state, block = model.states(tokens)[-2], model.blocks[-1]
        rows, length, width = state.shape
        parts: Any = block.mixed(block.first(state)).view(rows, length, 3, block.heads, -1)  # type: ignore[operator,union-attr]
        scores = torch.einsum("rhd,rlhd->rhl", parts[:, 0, 0], parts[:, :, 1]) / (width // block.heads) ** 0.5  # type: ignore[operator]
        return scores.softmax(dim=2).mean(dim=1)
