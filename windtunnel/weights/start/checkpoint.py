"""Begin from a model in a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field
from transformers import PreTrainedModel

from windtunnel.models.build import family_of
from windtunnel.models.checkpoint import load
from windtunnel.part import ALONE, Beginning, PartError, Start

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


class Checkpoint(Start, name="checkpoint"):
    """Begin with the weights in a folder of the Hugging Face format (safetensors or pytorch_model.bin, whole or in shards).

    For continued pre-training. Sizes in the recipe's ``model`` have to agree with the folder; what a recipe does not set (the base
    of the rotation, the epsilon of the norms) is as the folder says. A run's own folder is understood too.
    """

    folder: str = Field(min_length=1, description="folder of the model: config.json and its weights")

    def build(self, previous: PreTrainedModel | None, config: Any, seed: int, given: Beginning = ALONE) -> PreTrainedModel:
        """The model in the folder.

        Raises:
            PartError: naming what is missing, damaged, not finite or different from what the recipe says.
        """
        if not Path(self.folder).expanduser().is_dir():
            raise PartError(f"start.checkpoint.folder: {self.folder}: no such folder")
        model = load(self.folder)
        refuse_other_sizes(model.config, config, f"checkpoint {self.folder}")
        return model


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


def refuse_other_sizes(there: Any, here: Any, who: str) -> None:
    """Raise PartError, beginning with ``who``, unless a model of configuration ``there`` is one that configuration ``here`` asks for."""
    found, asked = sizes_of(there), sizes_of(here)
    differ = [f"{key} is {found[key]} there and {asked[key]} in the recipe" for key in found if found[key] != asked[key]]
    if differ:
        written = ", ".join(f"{key}: {str(value).lower() if isinstance(value, bool) else value}" for key, value in found.items())
        raise PartError(f"{who}: {'; '.join(differ)}. To use it, write `model: {{{written}}}`")
    if there.vocab_size != here.vocab_size:
        raise PartError(
            f"{who}: its vocabulary has {there.vocab_size} tokens, the stream's {here.vocab_size}; "
            "prepare the corpus with the tokenizer of that model (`tokenizer: {folder: ...}`)"
        )
    positions, needed = (getattr(one, "max_position_embeddings", 0) for one in (there, here))
    if family_of(here) in ("gpt2", "bert") and positions < needed:
        raise PartError(f"{who}: it has learned {positions} positions and the recipe's context needs {needed}")
