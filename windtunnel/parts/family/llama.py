"""Llama."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from windtunnel.kits.text.network import usual
from windtunnel.slots import AttentionPlace, BlockPlace, Call, Family, MlpPlace, Places, Sizes

NAMES = {**Family.names, "key_value_heads": ("num_key_value_heads",)}  # of all families whose query heads may share keys and values
PLACES = Places(
    stacks={
        "model.layers": BlockPlace(
            AttentionPlace("self_attn", ("q_proj", "k_proj", "v_proj"), "o_proj"),
            MlpPlace("mlp", ("gate_proj", "up_proj"), "down_proj"),
            {"attention": "input_layernorm", "mlp": "post_attention_layernorm"},
        )
    },
    embeddings=("model.embed_tokens",),
    final=("model.norm",),
    head="lm_head",
)


def shared_heads(sizes: Sizes) -> dict[str, Any]:
    """What the configurations of these families say beside :func:`usual`."""
    return {"num_key_value_heads": sizes.key_value_heads, "attention_dropout": sizes.dropout}


class Llama(Family, name="llama"):
    """A decoder with rotary positions, RMS norms before each layer, a gated MLP, and query heads that may share keys and values.

    Touvron et al. 2023, arXiv:2302.13971. Its only dropout is that of attention.
    """

    kind: ClassVar[str] = "decoder"
    names: ClassVar[Mapping[str, tuple[str, ...]]] = NAMES
    gated: ClassVar[bool] = True
    rotary: ClassVar[bool] = True
    uncut: ClassVar[str] = ""

    def config(self, sizes: Sizes, facts: Any, context: int) -> Any:
        """As for every family."""
        from transformers import LlamaConfig

        return LlamaConfig(**usual(sizes, facts, context), **shared_heads(sizes), head_dim=sizes.head_size)

    def model_class(self) -> Any:
        """As for every family."""
        from transformers import LlamaForCausalLM

        return LlamaForCausalLM

    def places(self, config: Any) -> Places:
        """As for every family."""
        return PLACES

    def forward(self, model: Any, arrays: Mapping[str, Any], call: Call) -> Any:
        """As for every family."""
        from windtunnel.models.forward import one_stack

        return one_stack(self, model, arrays, call)
