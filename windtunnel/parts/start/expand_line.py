"""Begin a model of any depth on the line that the layers of a learned one make."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import Field

from windtunnel.core.errors import PartError
from windtunnel.core.part import Trained
from windtunnel.core.trial import Trial
from windtunnel.slots import ALONE, Start, StartContext

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from transformers import PreTrainedModel

ROUNDING = 16  # how many units in the last place of its largest value a layer may be off the line


class ExpandLine(Start, name="expand-line"):
    """Begin layer i of L at ``B + (i / L) A``, the line through the layers of a model learned under `linear-layers`.

    The expansion of TLEG: Xia et al. 2024, "Transformer as Linear Expansion of Learngene", arXiv:2312.05614. A and B are recovered
    from the first and the last layer of the learned model, and every layer must lie on the line. The depth may be any, also a smaller
    one. Embeddings, final norm and head are copied. A layer whose place ``i / L`` the learned model has too is copied, so at the
    learned depth the function is the very same.
    """

    trial = Trial(model={"layers": 4}, before={"structure": "linear-layers"})

    source: Trained | None = Field(None, description="the learned model (default: that of the phase before)")

    def build(self, previous: PreTrainedModel | None, config: Any, seed: int, context: StartContext = ALONE) -> PreTrainedModel:
        """A network of ``config``, its layers on the line of the learned model.

        Raises:
            PartError: without a learned model, where its layers do not lie on a line (with the deviation) or are too few to make one,
                or where anything but depth differs.
        """
        from windtunnel.kits.weights.grow import depths, grown_config, origin
        from windtunnel.kits.weights.sharing import holders, refuse_all_but_depth
        from windtunnel.models.anatomy import anatomy
        from windtunnel.models.init import fresh

        source = origin(previous, context, self.name)
        refuse_all_but_depth(source.config, config, self.name)
        stacks = {stack: holders(blocks) for stack, blocks in anatomy(source).stacks.items()}
        count, rest = depths(source, config), source.state_dict()
        lines = {
            f"{stack}.*.{path}": Line(f"{stack}.*.{path}", values, count[stack][0])
            for stack, paths in stacks.items()
            for path, values in paths.items()
        }

        def value_of(name: str, _shape: torch.Size) -> Tensor:
            for stack, (_old, depth) in count.items():
                if name.startswith(f"{stack}."):
                    layer, _dot, path = name.removeprefix(f"{stack}.").partition(".")
                    return lines[f"{stack}.*.{path}"].at(int(layer), depth)
            return rest[name]

        # Which layers look at a window only is a matter of depth; at the learned depth it is as the learned model has it.
        same = all(old == new for old, new in count.values())
        return fresh(grown_config(source.config, config, {"layers"} if same else {"layers", "layer_types"}), seed, value_of)


class Line:
    """The line through one parameter of a stack: ``values`` by layer, of a model of ``depth`` layers."""

    def __init__(self, name: str, values: Mapping[int, Tensor], depth: int) -> None:
        """Raises PartError where a layer is further off the line than rounding explains."""
        import torch

        self.name, self.depth = name, depth
        self.values = {layer: value.detach() for layer, value in values.items()}
        self.first, self.last = min(values), max(values)
        scale = max(float(value.abs().max()) for value in self.values.values())
        for layer, value in self.values.items() if self.last > self.first else ():
            deviation = float((self.between(layer, depth) - value).abs().max())
            if not deviation <= ROUNDING * torch.finfo(value.dtype).eps * scale:
                raise PartError(
                    f"expand-line: the learned layers are not on a line: {name} of layer {layer} is off by {deviation:.2g} (its largest "
                    f"value is {scale:.2g}); learn the model under `structure: linear-layers`"
                )

    def at(self, layer: int, depth: int) -> Tensor:
        """The value for ``layer`` of ``depth`` layers. Raises PartError where a single learned layer has the parameter."""
        same, off = divmod(layer * self.depth, depth)
        if not off and same in self.values:
            return self.values[same]
        if self.last == self.first:
            raise PartError(
                f"expand-line: a line needs two layers that have {self.name}, and of the {self.depth} learned ones only layer {self.first} "
                f"has it; learn the model with layers: {self.first + 2} or more"
            )
        return self.between(layer, depth)

    def between(self, layer: int, depth: int) -> Tensor:
        """B + (layer / depth) A, in float64, by way of the first and the last layer that have the parameter."""
        first, last = self.values[self.first].double(), self.values[self.last].double()
        return first + (layer / depth * self.depth - self.first) / (self.last - self.first) * (last - first)
