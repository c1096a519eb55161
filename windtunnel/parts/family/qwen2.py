"""Qwen 2."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from windtunnel.kits.text.network import usual
from windtunnel.parts.family.llama import Llama, shared_heads
from windtunnel.slots import Call, Sizes


class Qwen2(Llama, name="qwen2"):
    """A llama with biases on queries, keys and values.

    Yang et al. 2024, arXiv:2407.10671. Its only dropout is that of attention.
    """

    def config(self, sizes: Sizes, facts: Any, context: int) -> Any:
        """As for every family."""
        from transformers import Qwen2Config

        return Qwen2Config(**usual(sizes, facts, context), **shared_heads(sizes))

    def model_class(self) -> Any:
        """As for every family."""
        from transformers import Qwen2ForCausalLM

        return Qwen2ForCausalLM

    def forward(self, model: Any, arrays: Mapping[str, Any], call: Call) -> Any:
        """As for every family; layers that a checkpoint gives a window see what is within it."""
        from windtunnel.models.forward import one_stack, within_window

        return one_stack(self, model, arrays, call, within_window(model, arrays.get("tokens")))
