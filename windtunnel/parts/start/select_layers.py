"""Begin a shallower model from some of the layers of a trained one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field, NonNegativeInt

from windtunnel.core.errors import PartError
from windtunnel.core.part import Trained
from windtunnel.core.trial import Trial
from windtunnel.slots import ALONE, Start, StartContext

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class SelectLayers(Start, name="select-layers"):
    """Begin a shallower model with chosen layers of a trained one, in their order; embeddings, final norm and head are copied.

    How DistilBERT begins, with every other layer: Sanh et al. 2019, arXiv:1910.01108; the usual control for anything that makes
    models of several depths from a trained one. By default layers are spread evenly, the first and the last among them. It does not
    preserve the function.
    """

    trial = Trial(model={"layers": 1}, before={})

    layers: tuple[NonNegativeInt, ...] | None = Field(
        None, min_length=1, description="the chosen layers, counted from 0 (default: evenly spread, with the first and the last)"
    )
    source: Trained | None = Field(None, description="the model it begins from (default: that of the phase before)")

    def build(self, previous: PreTrainedModel | None, config: Any, seed: int, context: StartContext = ALONE) -> PreTrainedModel:
        """A network of ``config`` made of chosen layers.

        Raises:
            PartError: without a model to begin from, where anything but depth differs, where there is nothing to leave out, or where
                the chosen layers are not there, not ascending, or not as many as asked for.
        """
        from windtunnel.kits.weights.grow import copy_layers, depths, grown_config, origin
        from windtunnel.kits.weights.sharing import refuse_all_but_depth

        source = origin(previous, context, self.name)
        refuse_all_but_depth(source.config, config, self.name)
        places = {stack: self.places(old, new) for stack, (old, new) in depths(source, config).items()}
        return copy_layers(source, grown_config(source.config, config, {"layers"}, places), seed, places, self.name)

    def places(self, old: int, new: int) -> list[int]:
        """The layer, from 0 to ``old`` - 1, that each of ``new`` layers is. Raises PartError where they do not fit."""
        if new >= old:
            raise PartError(f"select-layers: {new} of {old} layers leaves none out; set layers below {old}, or grow with `deepen`")
        if self.layers is None:
            # Halves are rounded up, in whole numbers: layer i of n is round(i (old - 1) / (n - 1)).
            return [(2 * layer * (old - 1) + new - 1) // (2 * (new - 1)) if new > 1 else 0 for layer in range(new)]
        chosen = list(self.layers)
        if chosen != sorted(set(chosen)) or chosen[-1] >= old:
            raise PartError(f"select-layers: layers {chosen} are not ascending layers of 0 to {old - 1}")
        if len(chosen) != new:
            raise PartError(f"select-layers: {len(chosen)} layers are chosen and the model has {new}; set layers: {len(chosen)}")
        return chosen
