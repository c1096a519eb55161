"""A tiny model of every family that reads tokens, and rows to show it."""

from __future__ import annotations

import numpy as np
import torch
from families import KINDS
from torch import nn

from windtunnel.kits.text.vocabulary import Vocabulary
from windtunnel.models.forward import forward
from windtunnel.models.init import config_for, family_of, fresh
from windtunnel.models.settings import ModelSettings

SIZE, LENGTH = 160, 24
VOCABULARY = Vocabulary(
    size=SIZE,
    document=0,
    pad=1,
    mask=2,
    spans=(3, 4),
    modes={},
    token_bytes=np.ones(SIZE, np.int32),
    word_starts=np.ones(SIZE, bool),
)
FAMILIES = sorted(KINDS)
DECODERS = [family for family in FAMILIES if KINDS[family] == "decoder"]
ENCODERS = [family for family in FAMILIES if KINDS[family] == "encoder"]


def build(family: str, seed: int = 0, context: int = LENGTH, **sizes):
    sizes = {"layers": 2, "width": 32, "heads": 4} | sizes
    return fresh(config_for(ModelSettings(family=family, **sizes), VOCABULARY, context), seed)


def random_tokens(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(5, SIZE, shape, generator=torch.Generator().manual_seed(seed))


def run(model, tokens, documents=None, positions=None, **options):
    """A forward pass as each kind is used; an encoder-decoder reads and writes the same tokens."""
    kind = family_of(model.config).kind
    if kind == "encoder-decoder":
        options |= {"decoder_tokens": tokens, "decoder_documents": documents}
    return forward(model, tokens, documents, positions, causal=kind != "encoder", **options)


def packed() -> tuple[torch.Tensor, torch.Tensor]:
    """Two sequences: documents of 9, 10 tokens and 5 of padding; documents of 4, 20 tokens."""
    documents = torch.tensor([[0] * 9 + [1] * 10 + [-1] * 5, [0] * 4 + [1] * 20])
    tokens = random_tokens(2, LENGTH)
    tokens[documents < 0] = VOCABULARY.pad
    return tokens, documents


def config_of(family: str, context: int = LENGTH, **sizes):
    return config_for(ModelSettings(family=family, **({"layers": 2, "width": 32, "heads": 4} | sizes)), VOCABULARY, context)


def moved(model: nn.Module) -> nn.Module:
    """The model with every weight changed, as training would."""
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(weight.numel())) * 0.1)
    return model
