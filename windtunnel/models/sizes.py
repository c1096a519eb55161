"""The sizes of a transformers configuration, as a recipe writes them."""

from __future__ import annotations

from typing import Any

from windtunnel.models.build import family_of

# How each size that must agree is written under `model` in a recipe, and the configuration's name for it.
SIZES = {
    "layers": "num_hidden_layers",
    "width": "hidden_size",
    "heads": "num_attention_heads",
    "key_value_heads": "num_key_value_heads",
    "intermediate": "intermediate_size",
    "tied": "tie_word_embeddings",
}
OTHER_NAMES = {"intermediate": {"gpt2": "n_inner", "t5": "d_ff"}}


def sizes_of(config: Any) -> dict[str, Any]:
    """The family and sizes of a transformers configuration, as a recipe writes them."""
    family = family_of(config)
    found: dict[str, Any] = {"family": family}
    for key, name in SIZES.items():
        value = getattr(config, OTHER_NAMES.get(key, {}).get(family, name), None)
        if key == "intermediate" and value is None:
            value = 4 * config.hidden_size  # what gpt2 means by leaving it out
        if key == "key_value_heads" and value is None:
            value = config.num_attention_heads
        found[key] = value
    return found
