"""One forward pass for every family, with attention that knows documents, causality, prefixes and orders."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from windtunnel.core.errors import UserError
from windtunnel.models.attention import WITHOUT_MASK
from windtunnel.models.init import family_of
from windtunnel.slots import Call, Family

PADDING = -1


def forward(
    model: Any,
    tokens: Tensor | None = None,
    documents: Tensor | None = None,
    positions: Tensor | None = None,
    *,
    causal: bool = True,
    prefix: Tensor | None = None,
    seen: Tensor | None = None,
    needs: frozenset[str] = frozenset(),
    decoder_tokens: Tensor | None = None,
    decoder_documents: Tensor | None = None,
    logits: bool = True,
    **others: Tensor | None,
) -> Any:
    """The outputs of ``model``, with ``logits`` for every unit: [B, T, vocabulary]; of an encoder-decoder for what its decoder reads.

    Args:
        model: a network of any family.
        tokens: [B, T] token ids; for an encoder-decoder what its encoder reads.
        documents: [B, T] number of the document each position belongs to, -1 for padding. A position sees only its own document.
            None says that every sequence is one document without padding, which is faster: causal attention then needs no mask.
        positions: [B, T] positions, counted from the beginning of each document; ignored where ``documents`` is None (they are
            0, 1, 2 ... then) and where positions are relative. Values below zero (padding) count as zero.
        causal: whether a position sees only itself and what is before it. The encoder of an encoder-decoder sees everything and
            its decoder is causal, whatever is given here.
        prefix: bool [B, T], positions that every position of the same document sees, also earlier ones.
        seen: bool [B, T, T], which position (second axis) sees which of its own document (last axis), itself always; in the place of
            ``causal`` and ``prefix``.
        needs: outputs to keep besides logits: ``hidden_states``, ``attentions`` (which makes attention slower, as fused kernels
            never hold them).
        decoder_tokens: [B, S] what the decoder of an encoder-decoder reads.
        decoder_documents: [B, S] as ``documents``; a decoder position sees the encoder positions of the same document.
        logits: False spares those of all positions but the last, for models of which :func:`head_apart` is true.
        others: what families of other kinds read (:class:`windtunnel.slots.Family`), by name.

    Padding positions see padding, never text, and never make a row of the softmax empty; what they predict means nothing.
    Nothing here waits for the device.

    Raises:
        UserError: for an array that the family does not read or cannot go without, or a sequence longer than the positions that the
            model has learned.
    """
    family = family_of(model.config)
    named = {"tokens": tokens, "documents": documents, "positions": positions, "prefix": prefix, "seen": seen}
    named |= {"decoder_tokens": decoder_tokens, "decoder_documents": decoder_documents, **others}
    arrays = {name: array for name, array in named.items() if array is not None}
    odd = [name for name in arrays if name not in family.reads]
    if odd:
        raise UserError(f"{family.name} does not read {', '.join(odd)}, which the objective gives; it reads {', '.join(family.reads)}")
    options: dict[str, Any] = {"return_dict": True}
    options |= {f"output_{name}": True for name in ("hidden_states", "attentions") if name in needs}
    if not logits:
        options["logits_to_keep"] = 1
    with _kernel(model, "eager" if "attentions" in needs else model.config._attn_implementation):
        additive = model.config._attn_implementation == "eager"  # eager attention adds the mask to the scores
        return family.forward(model, arrays, Call(causal, additive, options))


def precise(values: Tensor) -> Tensor:
    """``values`` in float32, or in float64 where they are."""
    return values if values.dtype == torch.float64 else values.float()


def in_one_pass(model: Any, act: Callable[[Any], Any]) -> Any:
    """What ``act`` makes with the forward pass of ``model`` and its modules, which it may call by themselves.

    Where ranks hold the model in shards, weights that belong to no block are whole from the beginning of a pass of the model on, so all
    that ``act`` calls has to be one such pass.
    """
    whole = getattr(model, "one_pass", None)
    return act(model) if whole is None else whole(lambda: act(model.forward))


def within_window(model: Any, tokens: Tensor | None) -> Tensor | None:
    """For :func:`one_stack`: which of the positions of ``tokens`` [B, T] the local layers of a decoder see, bool [T, T].

    None where it has no such layers, or all positions lie within their window.
    """
    if tokens is None:
        return None
    config, length = model.config, tokens.shape[1]
    window = config.sliding_window if "sliding_attention" in config.layer_types else None
    if window is None or length <= window:
        return None
    index = torch.arange(length, device=tokens.device)
    return (index[:, None] - index[None, :]).abs() < window


def logits_of_targets(model: PreTrainedModel, batch: Mapping[str, Tensor], counts: Tensor, logits: Tensor) -> Tensor:
    """The logits of the targets that count, float32 or wider [targets, vocabulary], in the order of ``counts`` [B, W] (bool).

    So row n belongs to the n-th of ``loss.values[loss.counts]`` and of ``batch["labels"][loss.counts]``, whatever the family.

    Only these rows become float32, as a softmax over the vocabulary is the largest thing a step holds. The ``logits`` of an
    encoder-decoder stand in its decoder's columns [B, N, vocabulary], which the batch's ``decoder_columns`` says the columns of.
    """
    sequence, column = counts.nonzero(as_tuple=True)
    if model.config.is_encoder_decoder:
        columns, width = batch["decoder_columns"], counts.shape[1]
        order = torch.arange(columns.shape[1], device=columns.device).expand_as(columns)
        # Where each column of the batch stands in the decoder; padding goes to one column more.
        places = columns.new_zeros(len(columns), width + 1).scatter(1, torch.where(columns >= 0, columns, width), order)
        column = places[sequence, column]
    # Selecting rows has a fast gradient; indexing by a mask would sort.
    rows = logits.flatten(0, 1).index_select(0, sequence * logits.shape[1] + column)
    return rows if rows.dtype == torch.float64 else rows.float()


def head_apart(model: Any) -> bool:
    """Whether the logits of ``model`` are its head, one matrix, of its last hidden states, and it can be run without making them all.

    It is not while ``model.whole_logits`` is true: somebody then changes the logits of every pass.
    """
    return (
        family_of(model.config).kind == "decoder"
        and not getattr(model, "whole_logits", False)
        and "logits_to_keep" in inspect.signature(type(model).forward).parameters
        and isinstance(model.get_output_embeddings(), torch.nn.Linear)
    )


def one_stack(family: Family, model: Any, arrays: Mapping[str, Tensor], call: Call, near: Tensor | None = None) -> Any:
    """The forward pass of a family of one stack that reads sequences of documents, for :meth:`windtunnel.slots.Family.forward`.

    ``near`` is, for a model with local layers, which position is within the window of which, in either direction: bool [T, T].

    Raises:
        UserError: without tokens, or for a sequence longer than the positions that the model has learned.
    """
    tokens, documents, positions, prefix, seen = (arrays.get(name) for name in ("tokens", "documents", "positions", "prefix", "seen"))
    if tokens is None:
        raise UserError(f"{family.name} needs tokens; this objective gives none")
    encoder, learned, usual = family.kind == "encoder", family.positions(model.config), model.config._attn_implementation
    if learned is not None and tokens.shape[1] > learned:
        raise UserError(f"sequences of {tokens.shape[1]} tokens are longer than the {learned} positions this {family.name} has learned")
    options = dict(call.options) if encoder else {**call.options, "use_cache": False}
    shape = as_added if call.additive else lambda allowed: allowed
    if documents is None and prefix is None and seen is None and call.causal != encoder:
        # What the family does by itself is what is asked for. The mask of ones says to transformers that nobody forgot the padding,
        # which it would otherwise look for in the tokens; attention without mask drops it.
        plain: Any = None if call.additive else torch.ones_like(tokens)
        if near is not None:
            whole = None if encoder or not call.additive else shape(torch.ones_like(near).tril()[None, None])  # eager attention sees all
            plain = {"full_attention": whole, "sliding_attention": shape((near if encoder else near.tril())[None, None])}
        with _kernel(model, usual if call.additive else WITHOUT_MASK[usual]):
            return model(input_ids=tokens, attention_mask=plain, **options)
    if documents is None:
        documents, positions = torch.zeros_like(tokens), None
    allowed = attention_mask(documents, causal=call.causal, prefix=prefix, seen=seen)
    mask: Any = shape(allowed)
    if near is not None and seen is not None:
        raise UserError(f"{family.name} with layers that see a window of {len(near)} positions cannot read text in another order")
    if near is not None:
        mask = {"full_attention": mask, "sliding_attention": shape(allowed & near)}
    if positions is None:
        positions = positions_of(documents)
    return model(input_ids=tokens, attention_mask=mask, position_ids=positions.clamp(min=0), **options)


def attention_mask(documents: Tensor, *, causal: bool, prefix: Tensor | None = None, seen: Tensor | None = None) -> Tensor:
    """Which position (third axis) sees which (last axis): bool [B, 1, T, T], of ``documents`` [B, T] with -1 for padding.

    Padding sees padding, so every row has at least one position to attend to and no softmax is empty.
    """
    allowed = documents[:, :, None] == documents[:, None, :]
    if seen is not None:
        allowed = allowed & (seen | torch.eye(seen.shape[1], dtype=torch.bool, device=seen.device))
    elif causal:
        index = torch.arange(documents.shape[1], device=documents.device)
        before = (index[None, :] <= index[:, None])[None]
        allowed = allowed & (before if prefix is None else before | prefix[:, None, :])
    return allowed[:, None]


def positions_of(documents: Tensor) -> Tensor:
    """Positions counted from the beginning of each run of equal ``documents`` [B, T]."""
    index = torch.arange(documents.shape[1], device=documents.device).expand_as(documents)
    begins = torch.ones_like(documents, dtype=torch.bool)
    begins[:, 1:] = documents[:, 1:] != documents[:, :-1]
    return index - torch.where(begins, index, 0).cummax(dim=1).values


def as_added(allowed: Tensor) -> Tensor:
    """A bool mask as the number that is added to attention scores."""
    return torch.zeros(allowed.shape, device=allowed.device).masked_fill_(~allowed, torch.finfo(torch.float32).min)


@contextmanager
def _kernel(model: Any, kernel: str) -> Iterator[None]:
    """Compute attention with ``kernel`` (a name that transformers knows) inside the block."""
    usual = model.config._attn_implementation
    if kernel == usual:
        yield
        return

    # An encoder-decoder has a configuration for each of its halves. For those without mask, which are
    # switched to at every step, one is enough.
    whole = [model] if kernel in WITHOUT_MASK.values() else [module for module in model.modules() if isinstance(module, PreTrainedModel)]

    def switch(name: str) -> None:
        for part in whole:
            part.config._attn_implementation = name

    switch(kernel)
    try:
        yield
    finally:
        switch(usual)
