"""How a model computes attention: by torch's fused kernel, or by plain products of matrices.

The fused kernel of a CPU never holds the scores, but its backward pass in bfloat16 is slow: 45 % of the step of a small model. Products
hold the scores, which are small where sequences are short. Which is faster is timed (:mod:`windtunnel.train.variant`).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import create_position_bias_mask, repeat_kv, sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

FUSED, PRODUCTS = "sdpa", "windtunnel-products"  # as transformers knows them; a variant calls the second "products"

# Either under a name for which transformers builds no mask of its own. It would look for packed documents in the positions first, which
# waits for the device, and when compiled would put a mask where causal attention needs none.
WITHOUT_MASK = {FUSED: "windtunnel-plain", PRODUCTS: "windtunnel-plain-products"}


def by_products(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    position_bias: Tensor | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """Attention of ``query`` [B, heads, Q, size] to ``key`` and ``value`` [B, key-value heads, K, size], as transformers asks for it.

    ``attention_mask`` is bool, or numbers to be added, [B or 1, heads or 1, Q, K]; None: causal where the module is. The softmax is
    computed in float32. Returns [B, Q, heads, size].

    Raises:
        ValueError: for capped scores, which no family here has.
    """
    if others.get("softcap") is not None:
        raise ValueError("attention by products does not cap scores")
    if (groups := getattr(module, "num_key_value_groups", 1)) > 1:
        key, value = repeat_kv(key, groups), repeat_kv(value, groups)
    length, seen = query.shape[2], key.shape[2]
    causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
    causal = bool(causal) and length > 1 and attention_mask is None
    if position_bias is not None:
        attention_mask, causal = create_position_bias_mask(position_bias, attention_mask, causal, query, key), False
    if causal:
        attention_mask = torch.ones(length, seen, dtype=torch.bool, device=query.device).tril()
    scores = (query * (query.shape[-1] ** -0.5 if scaling is None else scaling)) @ key.transpose(-1, -2)
    if attention_mask is not None:
        if attention_mask.dtype == torch.bool:
            scores = scores.masked_fill(~attention_mask, torch.finfo(scores.dtype).min)
        else:
            scores = scores + attention_mask
    shares = torch.softmax(scores, dim=-1, dtype=torch.float32).to(value.dtype)
    if dropout:
        shares = torch.nn.functional.dropout(shares, dropout)
    return (shares @ value).transpose(1, 2).contiguous(), None


AttentionInterface.register(PRODUCTS, by_products)
AttentionMaskInterface.register(PRODUCTS, sdpa_mask)
AttentionInterface.register(WITHOUT_MASK[FUSED], sdpa_attention_forward)
AttentionInterface.register(WITHOUT_MASK[PRODUCTS], by_products)


def set_attention(model: torch.nn.Module, attention: str) -> None:
    """Let ``model`` attend as a variant says: ``sdpa`` or ``products``. Models that have no fused attention stay as they are.

    An encoder-decoder has a configuration for each of its halves.
    """
    chosen = PRODUCTS if attention == "products" else attention
    for module in model.modules():
        if isinstance(module, PreTrainedModel) and module.config._attn_implementation in WITHOUT_MASK:
            module.config._attn_implementation = chosen
