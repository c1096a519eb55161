"""Begin a deeper model from a trained one by any map of layers, with new layers that are copies, silent or random."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from windtunnel.core.errors import PartError
from windtunnel.core.part import Trained
from windtunnel.core.trial import Trial
from windtunnel.parts.start.stack import interleaved, stacked
from windtunnel.slots import ALONE, Start, StartContext

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


class Deepen(Start, name="deepen"):
    """Begin a deeper model from a trained one: say which layer each new layer comes from, and how the added ones begin.

    At most one of ``layers``, ``repeat``, ``drop`` and ``layout`` is the map (default: ``layout: stack``, to whatever depth is asked
    for). Depth up-scaling is such a map: SOLAR (Kim et al. 2023, arXiv:2312.15166) lays two copies one after the other without the
    last m layers of the first and the first m of the second (``drop: m``, 32 layers and 8 make 48); Yi (01.AI 2024, arXiv:2403.04652)
    plays middle layers twice in place (``repeat: [12, 27]`` of 32), those that change their input least: see
    :func:`layer_similarity`. The first copy of a source layer continues it, any further one is new. New layers begin as ``copy``;
    as ``zero``, a copy whose outputs are zero, so that the grown model computes exactly what the trained one did; or ``random``, as
    from scratch. Both are operators of Du et al. 2024, arXiv:2405.15319, whose released code silences copies in the same way.
    """

    trial = Trial(model={"layers": 5}, before={})

    layers: tuple[int, ...] | None = Field(None, min_length=2, description="source of each new layer, counted from 0: [0, 1, 1, 2]")
    repeat: tuple[int, int] | None = Field(None, description="first and last layer, counted from 0, of those played twice in place")
    drop: int | None = Field(None, ge=0, description="two copies, without this many last layers of the first and first ones of the second")
    layout: Literal["stack", "interleave"] | None = Field(
        None, description="whole model after whole model, or each layer beside its copies; a depth that does not divide is cut or spread"
    )
    new: Literal["copy", "zero", "random"] = Field("copy", description="how added layers begin: as copies, without effect, or drawn")
    source: Trained | None = Field(None, description="the model it begins from (default: that of the phase before)")

    @model_validator(mode="after")
    def _one_map(self) -> Deepen:
        said = [key for key in ("layers", "repeat", "drop", "layout") if getattr(self, key) is not None]
        if len(said) > 1:
            raise ValueError(f"{' and '.join(said)} each say where layers come from; give one of them")
        return self

    def build(self, previous: PreTrainedModel | None, config: Any, seed: int, context: StartContext = ALONE) -> PreTrainedModel:
        """A network of ``config`` made of the layers of ``source`` or ``previous``.

        Raises:
            PartError: without a model to begin from; where any other size than depth differs; where the map does not fit the layers,
                names what is not there, or adds nothing; for ``zero`` where silent layers would not preserve the function.
        """
        from windtunnel.kits.weights.grow import copy_layers, depths, first_of_each, grown_config, origin, refuse_growth, silence
        from windtunnel.models.anatomy import anatomy

        model = origin(previous, context, self.name)
        refuse_growth(model.config, config, self.name, ["layers"])
        places = {stack: self.places(old, new) for stack, (old, new) in depths(model, config).items()}
        if self.new == "zero":
            self._refuse_to_silence(model, places)
        added = {stack: [not first for first in first_of_each(sources)] for stack, sources in places.items()}
        drawn = {
            stack: [None if new and self.new == "random" else index for index, new in zip(sources, added[stack], strict=True)]
            for stack, sources in places.items()
        }
        grown = copy_layers(model, grown_config(model.config, config, {"layers"}, places), seed, drawn, self.name)
        if self.new == "zero":
            for stack, blocks in anatomy(grown).stacks.items():
                for block in blocks:
                    if added[stack][block.index]:
                        silence(block)
        return grown

    def places(self, old: int, new: int) -> list[int]:
        """The source, from 0 to ``old`` - 1, of each of ``new`` layers. Raises PartError where map and depths do not fit."""
        if self.layers is not None:
            found = list(self.layers)
            wrong = [index for index in found if not 0 <= index < old]
            if wrong:
                raise PartError(f"deepen.layers: there is no layer {wrong[0]}; the model it begins from has layers 0 to {old - 1}")
        elif self.repeat is not None or self.drop is not None:
            first, last = self.repeat if self.repeat is not None else (self.drop or 0, old - 1 - (self.drop or 0))
            if not 0 <= first <= last < old:
                fits = f"first and last lie in 0 to {old - 1}" if self.repeat is not None else f"drop at most {(old - 1) // 2}"
                raise PartError(f"deepen.{'repeat' if self.repeat is not None else 'drop'}: nothing to repeat in {old} layers; {fits}")
            found = [*range(last + 1), *range(first, old)]
        else:
            found = (interleaved if self.layout == "interleave" else stacked)(old, new)
        if new <= old:
            raise PartError(f"deepen: {old} layers to {new} adds none; set model.layers higher than {old}")
        if len(found) != new:
            raise PartError(f"deepen: this map makes {len(found)} layers of {old}, not {new}; set model.layers: {len(found)}")
        return found

    def _refuse_to_silence(self, model: PreTrainedModel, places: Mapping[str, list[int]]) -> None:
        from windtunnel.kits.weights.grow import first_of_each
        from windtunnel.models.anatomy import anatomy

        view = anatomy(model)
        if any(block.residual == "post" for block in view.blocks):
            # Exact only where the stream already has mean 0 and variance 1, which norms with trained weights do not give it.
            raise PartError(
                f"deepen.new: zero does not preserve the function of {view.family}, which normalises after each addition, so a silent "
                "layer still changes the stream; use copy or random"
            )
        for stack, sources in places.items():
            kept = [index for index, first in zip(sources, first_of_each(sources), strict=True) if first]
            if kept != list(range(len(view.stacks[stack]))):
                raise PartError(f"deepen.new: zero needs every layer to appear, first ones in their order; the map has {kept} of {stack}")
            moved = sources[: len(kept)] != kept
            if moved and getattr(model.config, "scale_attn_by_inverse_layer_idx", False):
                raise PartError("deepen.new: zero needs layers to keep their place, as this gpt2 scales attention by it; use layout: stack")


def layer_similarity(model: PreTrainedModel, tokens: torch.Tensor, documents: torch.Tensor | None = None) -> list[float]:
    """The mean cosine similarity of what goes into each block of ``model`` with what comes out of it, over all positions.

    Near 1 means that a block changes the stream little. Yi duplicates a run of such blocks (01.AI 2024, arXiv:2403.04652, section
    7.3, which shows it for one text); ``repeat`` names such a run.

    Args:
        model: a network of any family; it is left in the mode it was in.
        tokens: [sequences, length] token ids. An encoder-decoder reads and writes the same ones.
        documents: [sequences, length] as for :func:`windtunnel.models.forward.forward`; positions of padding (-1) do not count.

    Returns:
        One number for each block, those of an encoder before those of its decoder.
    """
    import torch

    from windtunnel.models.anatomy import anatomy
    from windtunnel.models.forward import forward

    with torch.no_grad():
        view = anatomy(model)
        found: list[float] = []

        def compare(_: Any, inputs: tuple[Any, ...], keywords: dict[str, Any], output: Any) -> None:
            before = inputs[0] if inputs else keywords["hidden_states"]
            after = output[0] if isinstance(output, tuple) else output
            similar = torch.nn.functional.cosine_similarity(before.double(), after.double(), dim=-1)
            found.append(float(similar.mean() if documents is None else similar[documents >= 0].mean()))

        handles = [block.module.register_forward_hook(compare, with_kwargs=True) for block in view.blocks]
        training = model.training
        model.eval()
        try:
            writes = (tokens, documents) if view.kind == "encoder-decoder" else (None, None)
            forward(model, tokens, documents, causal=view.kind != "encoder", decoder_tokens=writes[0], decoder_documents=writes[1])
        finally:
            model.train(training)
            for handle in handles:
                handle.remove()
        return found
