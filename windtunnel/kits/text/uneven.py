"""A Qwen 3 whose layers have their own numbers of heads and inner sizes.

transformers has no such model, so an exported one takes this file with it, and ``AutoModelForCausalLM.from_pretrained(folder,
trust_remote_code=True)`` loads it. That is why this file imports nothing but torch and transformers.
"""

from __future__ import annotations

import copy
from typing import Any

from torch import nn
from transformers import Qwen3Config, Qwen3ForCausalLM
from transformers.models.qwen3.modeling_qwen3 import Qwen3DecoderLayer


class UnevenConfig(Qwen3Config):  # type: ignore[misc]
    """``layer_heads``, ``layer_key_value_heads`` and ``layer_intermediate``: those of every layer, the first one first.

    ``attention`` and ``inner`` are the shares that they were made from; the sizes without ``layer_`` are those of the even model.
    """

    model_type = "uneven_layers"

    layer_heads: list[int] | None = None
    layer_key_value_heads: list[int] | None = None
    layer_intermediate: list[int] | None = None
    attention: list[float] | None = None
    inner: list[float] | None = None

    def of_layer(self, layer: int) -> dict[str, int]:
        """The sizes of one layer, as the configuration of an even model calls them; none where every layer has the model's."""
        kinds = {
            "num_attention_heads": self.layer_heads,
            "num_key_value_heads": self.layer_key_value_heads,
            "intermediate_size": self.layer_intermediate,
        }
        return {name: sizes[layer] for name, sizes in kinds.items() if sizes}


class UnevenForCausalLM(Qwen3ForCausalLM):  # type: ignore[misc]
    """The even model with other layers in the place of its own."""

    config_class: Any = UnevenConfig

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        layers = []
        for place in range(config.num_hidden_layers):
            own = copy.deepcopy(config)
            for name, size in config.of_layer(place).items():
                setattr(own, name, size)
            layer = Qwen3DecoderLayer(own, place)
            layer.self_attn.config = config  # how attention is computed is said there, and may be changed later
            layers.append(layer)
        self.model.layers = nn.ModuleList(layers)
        self.post_init()


UnevenConfig.register_for_auto_class()
UnevenForCausalLM.register_for_auto_class("AutoModelForCausalLM")
