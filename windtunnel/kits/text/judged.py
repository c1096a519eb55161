"""What models that a curator holds say of texts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from windtunnel.core.errors import PartError
from windtunnel.kits.text.choice import digest

if TYPE_CHECKING:
    import torch


def bits(context: Any, model: str, texts: Sequence[str], *, tokens: int, batch: int, part: str) -> list[float]:
    """The bits a character that the model ``model`` of a curator's context needs for the first ``tokens`` tokens of each text.

    Batches that were judged are not judged again; passes are charged.

    Raises:
        PartError: naming ``part``, where the model is not causal or has no tokenizer.
    """
    held = context.models[model]
    separator, backend = reading(context, model, part)
    found: list[float] = []
    for start in range(0, len(texts), batch):
        group = texts[start : start + batch]
        encoded = backend.encode_batch([text[: 64 * tokens] for text in group], add_special_tokens=False)
        numbers = [[separator, *one.ids][: tokens + 1] for one in encoded]
        characters = [max(1, one.offsets[len(row) - 2][1]) if len(row) > 1 else 1 for one, row in zip(encoded, numbers, strict=True)]

        def judged(numbers: list[list[int]] = numbers, characters: list[int] = characters) -> list[float]:
            with context.counted(sum(map(len, numbers))):
                return [total / size for total, size in zip(summed_bits(held, numbers), characters, strict=True)]

        found += context.once(f"{model}-{digest(chr(0).join(group)).hex()}", judged)
    return found


def reading(context: Any, model: str, part: str) -> tuple[int, Any]:
    """The separator of the tokenizer beside the model ``model`` of a curator's context, and that tokenizer.

    Raises:
        PartError: naming ``part``, where the model is not causal or has no tokenizer.
    """
    from windtunnel.kits.text.tokenizer import describe, encoder
    from windtunnel.models.init import family_of

    tokenizer = context.processors[model]
    if tokenizer is None:
        raise PartError(f"{part}: no tokenizer lies beside {model}, so it cannot read documents")
    if family_of(context.models[model].config).kind != "decoder":
        raise PartError(f"{part}: a document has a likelihood only under a causal model; {model} is none")
    return describe(tokenizer, sentinels=0).document, encoder(tokenizer)


def summed_bits(model: Any, numbers: list[list[int]]) -> list[float]:
    """The bits of each sequence of token numbers but its first, summed."""
    losses, _ = token_losses(model, numbers)
    summed: list[float] = (losses.sum(dim=1) / math.log(2)).tolist()
    return summed


def token_losses(model: Any, numbers: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """The losses in nats of the tokens of each sequence but its first, [sequences, longest - 1], 0 behind its end; how many it has."""
    import torch

    with torch.no_grad():
        return losses_of(model, *padded(numbers, model.device))


def padded(numbers: Sequence[list[int]], device: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Sequences as ``tokens`` and ``documents`` (0, behind the end -1), [sequences, longest]."""
    import torch

    longest = max(2, *map(len, numbers))
    tokens = torch.tensor([row + [0] * (longest - len(row)) for row in numbers])
    documents = torch.tensor([[0] * len(row) + [-1] * (longest - len(row)) for row in numbers])
    return tokens.to(device), documents.to(device)


def losses_of(model: Any, tokens: torch.Tensor, documents: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """As :func:`token_losses` of what :func:`padded` gives."""
    import torch

    from windtunnel.models.forward import forward

    positions = torch.arange(tokens.shape[1], device=tokens.device).expand_as(tokens)
    logits = forward(model, tokens[:, :-1], documents[:, :-1], positions[:, :-1]).logits.float()
    losses = torch.nn.functional.cross_entropy(logits.transpose(1, 2), tokens[:, 1:], reduction="none")
    counts = documents[:, 1:] == 0
    return torch.where(counts, losses, 0.0), counts.sum(dim=1)
