"""Begin a deep model by repeating the layers of a trained shallow one."""

from __future__ import annotations

from typing import Any, Literal

import torch
from pydantic import Field
from transformers import PreTrainedModel

from windtunnel.models.anatomy import anatomy
from windtunnel.models.build import fresh
from windtunnel.part import PartError, Start
from windtunnel.weights.start.checkpoint import sizes_of


class Stack(Start, name="stack"):
    """Begin a deep model by repeating the layers of the shallow one that the phase before trained, at the same width.

    The depthwise stacking operator G_stack of Du et al. 2024, "Stacking Your Transformers", arXiv:2405.15319: layer i of the new
    model takes layer i mod L of the old one (``stack``: 0 1 0 1), or layer i // factor (``interleave``: 0 0 1 1). Embeddings, the
    final norm and the head are copied once. It does not preserve the function. An encoder-decoder grows both of its stacks.
    """

    factor: int = Field(4, ge=2, description="how many times the trained layers are repeated")
    layout: Literal["stack", "interleave"] = Field("stack", description="whole model after whole model, or each layer beside its copies")

    def build(self, previous: PreTrainedModel | None, config: Any, seed: int) -> PreTrainedModel:
        """A network of ``config`` made of the layers of ``previous``.

        Raises:
            PartError: without a previous model, or where family, width, vocabulary or any other size than depth differs, or where
                the layers are not ``factor`` times those of the previous model.
        """
        if previous is None:
            raise PartError("stack: there is no phase before this one whose layers could be repeated; give the recipe a first phase")
        before, after = sizes_of(previous.config), sizes_of(config)
        for key in before:
            if key != "layers" and before[key] != after[key]:
                raise PartError(f"stack: the phase before has {key} {before[key]} and this one {after[key]}; stacking changes only layers")
        if previous.config.vocab_size != config.vocab_size:
            raise PartError(
                f"stack: the vocabulary of the phase before has {previous.config.vocab_size} tokens, that of this one {config.vocab_size}"
            )
        old, new = before["layers"], after["layers"]
        if new != old * self.factor:
            fits = f" or factor: {new // old}" if new % old == 0 and new > old else ""
            deep = old * self.factor
            raise PartError(f"stack: {old} layers repeated {self.factor} times are {deep}, not {new}; set layers: {deep}{fits}")
        model = fresh(config, seed)  # so every attribute that depends on a layer's place is that of its new place
        self._copy(previous, model)
        return model

    @torch.no_grad()
    def _copy(self, previous: PreTrainedModel, model: PreTrainedModel) -> None:
        weights = {name: value for name, value in previous.state_dict().items()}
        view = anatomy(model)
        layers = {stack: len(blocks) for stack, blocks in anatomy(previous).stacks.items()}
        # modernbert's first block has no norm before its attention; its copies further up need one and get a fresh one (all ones).
        norms = {id(weight) for block in view.blocks for norm in block.norms.values() for weight in norm.parameters()}
        for name, value in model.named_parameters():
            source = self._source(name, layers)
            if source not in weights:
                if id(value) in norms:
                    continue
                raise PartError(f"stack: the phase before has no weight {source} for {name}")
            if weights[source].shape != value.shape:
                shapes = f"{tuple(weights[source].shape)} before, {tuple(value.shape)} now"
                raise PartError(f"stack: {name} does not fit ({shapes}); tables of positions need the same context in both phases")
            value.copy_(weights[source])

    def _source(self, name: str, layers: dict[str, int]) -> str:
        """The name of the weight that weight ``name`` of the new model is copied from."""
        for stack, count in layers.items():
            if name.startswith(f"{stack}."):
                index, _, rest = name.removeprefix(f"{stack}.").partition(".")
                place = int(index) % count if self.layout == "stack" else int(index) // self.factor
                return f"{stack}.{place}.{rest}"
        return name
