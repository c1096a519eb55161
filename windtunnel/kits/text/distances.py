"""Attention whose scores depend on positions otherwise than the model was built for: windows, chunks, distances that end somewhere.

Queries and keys reach the attention of such a layer before they are rotated, and a rule rotates them as it wants to. All scores are
held, as plain products hold them.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from types import MethodType
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import repeat_kv

from windtunnel.core.errors import PartError
from windtunnel.models.anatomy import anatomy

BY_RULE = "windtunnel-by-rule"  # as transformers knows it; layers alone have it, so a model's masks are made as usual
KEPT = "_distances"  # where a layer keeps its rule, the table of positions, and a configuration that names BY_RULE
Turn = Callable[[Tensor, Tensor], Tensor]  # rotates [B, heads, T, size] by positions [B or 1, T]


class DistanceRule(Protocol):
    """How scores are made."""

    def plain_up_to(self) -> int:
        """Up to how many positions scores are those of the model itself."""
        ...

    def scores(self, query: Tensor, key: Tensor, positions: Tensor, turn: Turn) -> tuple[Tensor, Tensor | None]:
        """Scores [B, heads, T, T] of ``query`` and ``key`` [B, heads, T, size], not rotated, and which of them are seen (None: all).

        ``positions`` [B or 1, T] count from the beginning of each document. What is seen is a bool that broadcasts to the scores; what
        documents and causality forbid is taken out besides.
        """
        ...


def rotary_tables(model: PreTrainedModel, who: str) -> dict[str, Any]:
    """The modules of ``model`` that make rotary positions, by their names.

    Raises:
        PartError: beginning with ``who``, where there are none, or each kind of layer has its own.
    """
    found = {name: module for name, module in model.named_modules() if hasattr(module, "inv_freq")}
    if not found:
        raise PartError(
            f"{who}: {model.config.model_type} has no rotary positions, or other ones in each kind of layer; use llama or qwen3"
        )
    return found


def put_on(model: PreTrainedModel, rule: DistanceRule, who: str) -> None:
    """Let every attention layer of ``model`` score by ``rule``.

    Raises:
        PartError: beginning with ``who``, for a model without one table of rotary positions, and where a rule is in place already.
    """
    table, *more = rotary_tables(model, who).values()
    if more:
        raise PartError(f"{who}: {model.config.model_type} has several tables of rotary positions")
    for block in anatomy(model).blocks:
        module: Any = model.get_submodule(block.attention.name)
        if hasattr(module, KEPT):
            raise PartError(f"{who}: this model attends by another rule already")
        config = copy.copy(module.config)
        config._attn_implementation = BY_RULE
        setattr(module, KEPT, (rule, (table,), config))  # within a tuple, so that the table does not become a part of the layer
        # A method of the module itself, so that a copy of the model computes with the copy's weights.
        module.forward = MethodType(_forward, module)


def take_off(model: PreTrainedModel) -> None:
    """Let ``model`` attend as it was built to."""
    for module in model.modules():
        if hasattr(module, KEPT):
            delattr(module, KEPT)
            del module.__dict__["forward"]


def _forward(module: Any, hidden_states: Tensor, *, position_embeddings: Any, **named: Any) -> Any:
    """The forward of an attention layer: its own, with unrotated queries and keys for the rule where the sequence is long."""
    rule, _, config = getattr(module, KEPT)
    if any(named.get(cache) is not None for cache in ("past_key_values", "layer_past")):
        raise PartError("this attention reads whole sequences: leave out evaluations that need a cache, such as harness")
    own = type(module).forward
    if hidden_states.shape[1] <= rule.plain_up_to():
        return own(module, hidden_states, position_embeddings=position_embeddings, **named)
    cos, sin = position_embeddings
    usual, module.config = module.config, config
    try:
        return own(module, hidden_states, position_embeddings=(torch.ones_like(cos), torch.zeros_like(sin)), **named)
    finally:
        module.config = usual


def _by_rule(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    position_ids: Tensor | None = None,
    **_: Any,
) -> tuple[Tensor, Tensor]:
    """Attention as transformers asks for it (see :func:`windtunnel.models.attention.by_products`), with the scores of the layer's rule."""
    rule, (table,), _config = getattr(module, KEPT)
    if (groups := getattr(module, "num_key_value_groups", 1)) > 1:
        key, value = repeat_kv(key, groups), repeat_kv(value, groups)
    length = query.shape[2]
    positions = torch.arange(length, device=query.device)[None] if position_ids is None else position_ids
    query = query * (query.shape[-1] ** -0.5 if scaling is None else scaling)
    scores, seen = rule.scores(query, key, positions, partial(turned, table))
    if attention_mask is None:
        attention_mask = torch.ones(length, length, dtype=torch.bool, device=query.device).tril()
    if attention_mask.dtype != torch.bool:  # numbers that are added, of which forbidden ones are hugely negative
        attention_mask = attention_mask > torch.finfo(attention_mask.dtype).min / 2
    allowed = attention_mask if seen is None else attention_mask & seen
    scores = scores.masked_fill(~allowed, torch.finfo(scores.dtype).min)
    shares = torch.softmax(scores, dim=-1, dtype=torch.float32).to(value.dtype)
    shares = torch.nn.functional.dropout(shares, dropout) if dropout else shares
    return (shares @ value).transpose(1, 2).contiguous(), shares


def turned(table: Any, values: Tensor, positions: Tensor) -> Tensor:
    """``values`` [B, heads, T, size] rotated by ``positions`` [B or 1, T]; of heads that rotate in part, that part."""
    cos, sin = (each[:, None] for each in table(values, positions))
    size = cos.shape[-1]
    rotating, still = values[..., :size], values[..., size:]
    half = torch.cat((-rotating[..., size // 2 :], rotating[..., : size // 2]), dim=-1)
    return torch.cat((rotating * cos + half * sin, still), dim=-1)


AttentionInterface.register(BY_RULE, _by_rule)
