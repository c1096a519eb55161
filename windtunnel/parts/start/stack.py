"""Begin a deep model by repeating the layers of a trained shallow one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from windtunnel.core.errors import PartError
from windtunnel.core.part import Trained
from windtunnel.core.trial import Trial
from windtunnel.slots import ALONE, Start, StartContext

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Stack(Start, name="stack"):
    """Begin a deep model by repeating the layers of the shallow one that the phase before trained, at the same width.

    The depthwise stacking operator G_stack of Du et al. 2024, "Stacking Your Transformers", arXiv:2405.15319: layer i of the new
    model takes layer i mod L of the old one (``stack``: 0 1 0 1), or layer i // factor (``interleave``: 0 0 1 1). Embeddings, the
    final norm and the head are copied once. It does not preserve the function. An encoder-decoder grows both of its stacks. For
    other maps, and for new layers that are silent or random, see ``deepen``.
    """

    trial = Trial({"factor": 2}, model={"layers": 4}, before={})

    factor: int = Field(4, ge=2, description="how many times the trained layers are repeated")
    layout: Literal["stack", "interleave"] = Field("stack", description="whole model after whole model, or each layer beside its copies")
    source: Trained | None = Field(None, description="the model it begins from (default: that of the phase before)")

    def build(self, previous: PreTrainedModel | None, config: Any, seed: int, context: StartContext = ALONE) -> PreTrainedModel:
        """A network of ``config`` made of the layers of ``source`` or ``previous``.

        Raises:
            PartError: without a model to begin from, or where family, width, vocabulary or any other size than depth differs, or
                where the layers are not ``factor`` times those of that model.
        """
        from windtunnel.kits.weights.grow import copy_layers, depths, grown_config, origin, refuse_growth

        model = origin(previous, context, self.name)
        refuse_growth(model.config, config, self.name, ["layers"])
        layers = {}
        for stack, (old, new) in depths(model, config).items():
            if new != old * self.factor:
                fits = f" or factor: {new // old}" if new % old == 0 and new > old else ""
                deep = old * self.factor
                raise PartError(f"stack: {old} layers repeated {self.factor} times are {deep}, not {new}; set layers: {deep}{fits}")
            layers[stack] = (stacked if self.layout == "stack" else interleaved)(old, new)
        return copy_layers(model, grown_config(model.config, config, {"layers"}, layers), seed, layers, self.name)


def stacked(old: int, new: int) -> list[int]:
    """The source of each of ``new`` layers, whole model after whole model: 0 1 0 1 0 for 2 and 5."""
    return [place % old for place in range(new)]


def interleaved(old: int, new: int) -> list[int]:
    """The source of each of ``new`` layers, each beside its copies, spread evenly: 0 0 0 1 1 for 2 and 5."""
    return [place * old // new for place in range(new)]
