"""What the objectives share in torch: predictions of a decoder, an encoder or an encoder-decoder, as the loss of every label."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from windtunnel.slots import Loss, Objective

if TYPE_CHECKING:
    import torch

LARGE = 1 << 27  # bytes of float32 logits of one forward pass above which they are made in pieces
PIECE = 1 << 24  # bytes of the logits of a piece
MODE_SLOTS = 16  # mode tokens that widen a sequence at most; models keep as many positions beyond their context


def loss_of_labels(logits: torch.Tensor, labels: torch.Tensor, outputs: Any) -> Loss:
    """Cross entropy in nats, in float32 or float64, of ``logits`` [B, T, vocabulary] for ``labels`` [B, T] (0 where they are -100)."""
    from torch.nn.functional import cross_entropy

    from windtunnel.models.forward import precise

    values = cross_entropy(precise(logits).flatten(0, 1), labels.flatten(), ignore_index=-100, reduction="none").view_as(labels)
    return Loss(values, labels != -100, outputs)


def loss_of_next(model: Any, batch: dict[str, torch.Tensor], needs: frozenset[str]) -> Loss:
    """Cross entropy of ``labels`` for a decoder that reads ``tokens``, with ``documents`` and ``positions`` where these are given.

    Logits that nobody asks for and that would take more than :data:`LARGE` bytes are never held whole: they are made in pieces. Where the
    head is trained they are made once more in the backward pass, which takes a third more FLOPs for the head, and these are counted.
    """
    from windtunnel.models.forward import forward, head_apart

    arrays = (batch["tokens"], batch.get("documents"), batch.get("positions"))
    labels = batch["labels"]
    if "logits" in needs or 4 * labels.numel() * model.config.vocab_size <= LARGE or not head_apart(model):
        outputs = forward(model, *arrays, needs=needs)
        return loss_of_labels(outputs.logits, labels, outputs)
    outputs = forward(model, *arrays, needs=needs | {"hidden_states"}, logits=False)
    outputs.logits = None
    return Loss(loss_in_pieces(model.get_output_embeddings(), outputs.hidden_states[-1], labels), labels != -100, outputs)


def loss_in_pieces(head: Any, hidden: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Cross entropy in nats, in float32, of the logits that ``head`` makes of ``hidden`` [B, T, width], for ``labels`` [B, T]."""
    import torch
    from torch.nn.functional import cross_entropy
    from torch.utils.checkpoint import checkpoint

    from windtunnel.models.forward import precise

    def piece(states: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return cross_entropy(precise(head(states)), targets, ignore_index=-100, reduction="none")

    rows = max(1, PIECE // (4 * head.weight.shape[0]))
    if torch.is_grad_enabled() and hidden.requires_grad and not any(weight.requires_grad for weight in head.parameters()):
        return _frozen_loss().apply(hidden.flatten(0, 1), head.weight, head.bias, labels.flatten(), rows).view_as(labels)
    pieces = zip(hidden.flatten(0, 1).split(rows), labels.flatten().split(rows), strict=True)
    values = [checkpoint(piece, *each, use_reentrant=False, preserve_rng_state=False) for each in pieces]
    return torch.cat(values).view_as(labels)


@cache
def _frozen_loss() -> Any:
    """The loss in pieces behind a head that does not train, as an autograd function.

    The gradient for a row of hidden states is that of its own loss times one number, which only the backward pass knows. So that gradient
    is made beside the loss, while the logits are there, and no logits are made twice.
    """
    import torch
    from torch.nn.functional import linear

    class FrozenLoss(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, hidden: Any, weight: Any, bias: Any, labels: Any, rows: int) -> Any:
            kind = hidden.device.type
            dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else hidden.dtype
            matrix = weight.to(dtype)  # once, and not for every piece
            values = torch.empty(labels.shape, dtype=torch.promote_types(hidden.dtype, torch.float32), device=hidden.device)
            slope = torch.empty_like(hidden)
            for begin in range(0, len(labels), rows):
                place = slice(begin, begin + rows)
                logits = linear(hidden[place].to(dtype), matrix, None if bias is None else bias.to(dtype)).to(values.dtype)
                counts, targets = labels[place] != -100, labels[place].clamp(min=0)[:, None]
                odds = logits.log_softmax(dim=-1)
                values[place] = -odds.gather(1, targets)[:, 0] * counts
                chances = odds.exp_().scatter_add_(1, targets, torch.full_like(values[place], -1.0)[:, None])
                slope[place] = ((chances * counts[:, None]).to(dtype) @ matrix).to(slope.dtype)
            ctx.save_for_backward(slope)
            return values

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx: Any, *gradients: Any) -> Any:
            (slope,) = ctx.saved_tensors
            return gradients[0][:, None].to(slope.dtype) * slope, None, None, None, None

    return FrozenLoss


def loss_of_arranged(model: Any, batch: dict[str, torch.Tensor], bidirectional: bool, needs: frozenset[str]) -> Loss:
    """The loss of a batch that :func:`windtunnel.kits.text.corrupt.arrange` laid out, for a decoder or an encoder-decoder.

    A decoder reads the columns as they are; ``bidirectional`` lets every position of a document see the document's input. The
    encoder of an encoder-decoder reads the input, its decoder the targets shifted by one, each document's behind a start token.
    ``values`` and ``counts`` have the shape of ``labels`` [B, W] in either case.
    """
    import torch

    from windtunnel.models.forward import forward

    labels = batch["labels"]
    if not model.config.is_encoder_decoder:
        prefix = batch["prefix"] if bidirectional else None
        outputs = forward(model, batch["tokens"], batch["documents"], batch["positions"], prefix=prefix, needs=needs)
        return loss_of_labels(outputs.logits, labels, outputs)
    reads, read_documents = _gather(batch, batch["encoder_columns"], model.config.pad_token_id)
    columns = batch["decoder_columns"]
    writes, write_documents = _gather(batch, columns, model.config.pad_token_id)
    # The column that predicts a document's first target holds the last token of its input, which the decoder must not repeat.
    first = batch["prefix"].gather(1, columns.clamp(min=0)) & (columns >= 0)
    writes = torch.where(first, model.config.decoder_start_token_id, writes)
    outputs = forward(model, reads, read_documents, needs=needs, decoder_tokens=writes, decoder_documents=write_documents)
    targets = torch.where(columns >= 0, labels.gather(1, columns.clamp(min=0)), -100)
    loss = loss_of_labels(outputs.logits, targets, outputs)
    # Back to the columns of the batch, so that values stand where labels do. Padding goes to one column more, which is cut off.
    width = labels.shape[1]
    values = loss.values.new_zeros(labels.shape[0], width + 1).scatter(1, torch.where(columns >= 0, columns, width), loss.values)
    return Loss(values[:, :width], labels != -100, outputs)


def own_format(objective: Objective) -> tuple[bool, bool]:
    """Whether models trained with ``objective`` know mode tokens, and whether they read their input in both directions."""
    modes = getattr(objective, "mode_tokens", getattr(objective, "mode", None) is not None)
    return bool(modes), getattr(objective, "bidirectional", False)


def _gather(batch: dict[str, torch.Tensor], columns: torch.Tensor, pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens and documents of ``columns`` [B, N], padding where they are -1."""
    import torch

    used, at = columns >= 0, columns.clamp(min=0)
    return torch.where(used, batch["tokens"].gather(1, at), pad), torch.where(used, batch["documents"].gather(1, at), -1)
