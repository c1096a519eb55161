"""One forward pass for every family, with attention that knows documents, causality and prefixes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from windtunnel.core.errors import UserError

PADDING = -1

# The usual fused attention under a name for which transformers builds no mask of its own. It would look for packed documents in the
# positions first, which waits for the device, and when compiled would put a mask where causal kernels need none.
PLAIN = "windtunnel-plain"
AttentionInterface.register(PLAIN, sdpa_attention_forward)


def forward(
    model: Any,
    tokens: Tensor,
    documents: Tensor | None = None,
    positions: Tensor | None = None,
    *,
    causal: bool = True,
    prefix: Tensor | None = None,
    needs: frozenset[str] = frozenset(),
    decoder_tokens: Tensor | None = None,
    decoder_documents: Tensor | None = None,
) -> Any:
    """The outputs of ``model``, with ``logits`` [B, T, vocabulary] (for an encoder-decoder [B, T of the decoder, vocabulary]).

    Args:
        model: a network of any family in :data:`windtunnel.models.settings.KINDS`.
        tokens: [B, T] token ids; for an encoder-decoder what its encoder reads.
        documents: [B, T] number of the document each position belongs to, -1 for padding. A position sees only its own document.
            None says that every sequence is one document without padding, which is faster: causal attention then needs no mask.
        positions: [B, T] positions, counted from the beginning of each document; ignored where ``documents`` is None (they are
            0, 1, 2 ... then) and by t5, whose positions are relative. Values below zero (padding) count as zero.
        causal: whether a position sees only itself and what is before it. The encoder of an encoder-decoder sees everything and
            its decoder is causal, whatever is given here.
        prefix: bool [B, T], positions that every position of the same document sees, also earlier ones.
        needs: outputs to keep besides logits: ``hidden_states``, ``attentions`` (which makes attention slower, as fused kernels
            never hold them).
        decoder_tokens: [B, S] what the decoder of an encoder-decoder reads.
        decoder_documents: [B, S] as ``documents``; a decoder position sees the encoder positions of the same document.

    Padding positions see padding, never text, and never make a row of the softmax empty; what they predict means nothing.
    Nothing here waits for the device.

    Raises:
        UserError: for an encoder-decoder without ``decoder_tokens``, another family with them, or a sequence longer than the
            learned positions of the model.
    """
    family = model.config.model_type
    options: dict[str, Any] = {"return_dict": True}
    options |= {f"output_{name}": True for name in ("hidden_states", "attentions") if name in needs}
    with _kernel(model, "eager" if "attentions" in needs else model.config._attn_implementation):
        additive = model.config._attn_implementation == "eager"  # eager attention adds the mask to the scores
        if family == "t5":
            if decoder_tokens is None:
                raise UserError("an encoder-decoder needs decoder_tokens; this objective gives none")
            return _encoder_decoder(model, tokens, documents, decoder_tokens, decoder_documents, additive, options)
        if decoder_tokens is not None:
            raise UserError(f"{family} has no decoder of its own, but the objective gives decoder_tokens")
        return _single(model, tokens, documents, positions, causal, prefix, additive, options)


def _single(
    model: Any,
    tokens: Tensor,
    documents: Tensor | None,
    positions: Tensor | None,
    causal: bool,
    prefix: Tensor | None,
    additive: bool,
    options: dict[str, Any],
) -> Any:
    family, length, usual = model.config.model_type, tokens.shape[1], model.config._attn_implementation
    encoder = family in ("bert", "modernbert")
    if family in ("gpt2", "bert") and length > model.config.max_position_embeddings:
        raise UserError(
            f"sequences of {length} tokens are longer than the {model.config.max_position_embeddings} positions this {family} has learned"
        )
    if not encoder:
        options["use_cache"] = False
    shape = _as_added if additive else lambda allowed: allowed
    if documents is None and prefix is None and causal != encoder:
        # What the family does by itself is what is asked for. The mask of ones says to transformers that nobody forgot the padding,
        # which it would otherwise look for in the tokens; PLAIN attention drops it.
        plain: Any = None if additive else torch.ones_like(tokens)
        if family == "modernbert":
            plain = {"full_attention": None, "sliding_attention": shape(near(model, tokens)[None, None])}
        with _kernel(model, usual if additive else PLAIN):
            return model(input_ids=tokens, attention_mask=plain, **options)
    if documents is None:
        documents, positions = torch.zeros_like(tokens), None
    allowed = attention_mask(documents, causal=causal, prefix=prefix)
    mask: Any = shape(allowed)
    if family == "modernbert":
        mask = {"full_attention": mask, "sliding_attention": shape(allowed & near(model, tokens))}
    if positions is None:
        positions = positions_of(documents)
    return model(input_ids=tokens, attention_mask=mask, position_ids=positions.clamp(min=0), **options)


def _encoder_decoder(
    model: Any,
    tokens: Tensor,
    documents: Tensor | None,
    decoder_tokens: Tensor,
    decoder_documents: Tensor | None,
    additive: bool,
    options: dict[str, Any],
) -> Any:
    if (documents is None) != (decoder_documents is None):
        # Only one side has padding or several documents: the other is one document without padding.
        documents = torch.zeros_like(tokens) if documents is None else documents
        decoder_documents = torch.zeros_like(decoder_tokens) if decoder_documents is None else decoder_documents
    within = across = after = None
    if documents is not None and decoder_documents is not None:
        within = attention_mask(documents, causal=False)
        after = attention_mask(decoder_documents, causal=True)
        # Decoder padding may find no padding in the encoder; it then looks at everything, as an empty softmax is not a number.
        across = (decoder_documents[:, :, None] == documents[:, None, :]) | (decoder_documents == PADDING)[:, :, None]
        across = across[:, None]
        if additive:
            within, across, after = _as_added(within), _as_added(across), _as_added(after)
    # The encoder is called by itself because transformers gives one mask to it and to the decoder's attention over it, and with
    # packed documents these are different masks.
    read = model.encoder(input_ids=tokens, attention_mask=within, **options)
    return model(
        encoder_outputs=read,
        attention_mask=across,
        decoder_input_ids=decoder_tokens,
        decoder_attention_mask=after,
        use_cache=False,
        **options,
    )


def attention_mask(documents: Tensor, *, causal: bool, prefix: Tensor | None = None) -> Tensor:
    """Which position (third axis) sees which (last axis): bool [B, 1, T, T], of ``documents`` [B, T] with -1 for padding.

    Padding sees padding, so every row has at least one position to attend to and no softmax is empty.
    """
    allowed = documents[:, :, None] == documents[:, None, :]
    if causal:
        index = torch.arange(documents.shape[1], device=documents.device)
        before = (index[None, :] <= index[:, None])[None]
        allowed = allowed & (before if prefix is None else before | prefix[:, None, :])
    return allowed[:, None]


def near(model: Any, tokens: Tensor) -> Tensor:
    """Which position of ``tokens`` [B, T] is within the window of which, for the local layers of modernbert: bool [T, T]."""
    index = torch.arange(tokens.shape[1], device=tokens.device)
    return (index[:, None] - index[None, :]).abs() <= model.config.sliding_window


def positions_of(documents: Tensor) -> Tensor:
    """Positions counted from the beginning of each run of equal ``documents`` [B, T]."""
    index = torch.arange(documents.shape[1], device=documents.device).expand_as(documents)
    begins = torch.ones_like(documents, dtype=torch.bool)
    begins[:, 1:] = documents[:, 1:] != documents[:, :-1]
    return index - torch.where(begins, index, 0).cummax(dim=1).values


def _as_added(allowed: Tensor) -> Tensor:
    """A bool mask as the number that is added to attention scores."""
    return torch.zeros(allowed.shape, device=allowed.device).masked_fill_(~allowed, torch.finfo(torch.float32).min)


@contextmanager
def _kernel(model: Any, kernel: str) -> Iterator[None]:
    """Compute attention with ``kernel`` (a name that transformers knows) inside the block."""
    usual = model.config._attn_implementation
    if kernel == usual:
        yield
        return

    # An encoder-decoder has a configuration for each of its halves. For PLAIN, which is switched to at every step, one is enough.
    whole = [model] if kernel == PLAIN else [module for module in model.modules() if isinstance(module, PreTrainedModel)]

    def switch(name: str) -> None:
        for part in whole:
            part.config._attn_implementation = name

    switch(kernel)
    try:
        yield
    finally:
        switch(usual)
