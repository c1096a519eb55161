"""Qwen 3."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from windtunnel.kits.text.network import usual
from windtunnel.parts.family.llama import Llama, shared_heads
from windtunnel.slots import Call, Sizes


class Qwen3(Llama, name="qwen3"):
    """A llama with norms of queries and keys inside attention.

    Yang et al. 2025, arXiv:2505.09388. Its only dropout is that of attention.
    """

    def config(self, sizes: Sizes, facts: Any, context: int) -> Any:
        """As for every family."""
        from transformers import Qwen3Config

        return Qwen3Config(**usual(sizes, facts, context), **shared_heads(sizes), head_dim=sizes.head_size)

    def model_class(self) -> Any:
        """As for every family."""
        from transformers import Qwen3ForCausalLM

        return Qwen3ForCausalLM

    def cut(self, model: Any) -> dict[str, str]:
        """As for every family; the norms of queries and keys act on each head by itself."""
        norms = ("q_norm", "k_norm")
        blocks = range(model.config.num_hidden_layers)
        return super().cut(model) | {f"model.layers.{number}.self_attn.{norm}": "heads" for number in blocks for norm in norms}

    def forward(self, model: Any, arrays: Mapping[str, Any], call: Call) -> Any:
        """As for every family; layers that a checkpoint gives a window see what is within it."""
        from windtunnel.models.forward import one_stack, within_window

        return one_stack(self, model, arrays, call, within_window(model, arrays.get("tokens")))
