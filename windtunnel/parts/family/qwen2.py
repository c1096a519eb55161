"""Qwen 2."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from windtunnel.kits.text.network import usual
from windtunnel.parts.family.llama import NAMES, PLACES
from windtunnel.slots import Call, Family, Places, Sizes


class Qwen2(Family, name="qwen2"):
    """A llama with biases on queries, keys and values.

    Yang et al. 2024, arXiv:2407.10671. Its only dropout is that of attention.
    """

    kind: ClassVar[str] = "decoder"
    names: ClassVar[Mapping[str, tuple[str, ...]]] = NAMES
    gated: ClassVar[bool] = True
    rotary: ClassVar[bool] = True
    uncut: ClassVar[str] = ""

    def config(self, sizes: Sizes, facts: Any, context: int) -> Any:
        """As for every family."""
        from transformers import Qwen2Config

        own: dict[str, Any] = {"num_key_value_heads": sizes.key_value_heads, "attention_dropout": sizes.dropout}
        return Qwen2Config(**usual(sizes, facts, context), **own)

    def model_class(self) -> Any:
        """As for every family."""
        from transformers import Qwen2ForCausalLM

        return Qwen2ForCausalLM

    def places(self, config: Any) -> Places:
        """As for every family."""
        return PLACES

    def forward(self, model: Any, arrays: Mapping[str, Any], call: Call) -> Any:
        """As for every family; layers that a checkpoint gives a window see what is within it."""
        from windtunnel.models.forward import one_stack, within_window

        return one_stack(self, model, arrays, call, within_window(model, arrays.get("tokens")))
