"""What every start that grows a model needs: where it grows from, what it refuses, and layers copied by a map.

Plain functions. A grown model is never drawn and then overwritten: only weights that no smaller model gave are drawn, each from the
generator that :func:`windtunnel.models.init.fresh` gives its name, so a run begins the same whatever else was copied.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from transformers import PreTrainedModel

from windtunnel.core.errors import PartError
from windtunnel.models.anatomy import Block, Matrix, anatomy
from windtunnel.models.init import family_of, fresh
from windtunnel.models.sizes import rows_of, sizes_of
from windtunnel.slots import StartContext
from windtunnel.slots.family import found_in

Layers = Mapping[str, Sequence[int | None]]  # for each stack of blocks, the source of each new layer; None is drawn anew


def origin(previous: PreTrainedModel | None, context: StartContext, who: str) -> PreTrainedModel:
    """The model that the part ``who`` grows: its own ``source`` if it names one, else that of the phase before, else PartError."""
    model = context.models.get("source", previous)
    if model is None:
        raise PartError(
            f"{who}: there is no phase before this one whose model could grow; give the recipe a first phase, or the start a `source`"
        )
    return model


def refuse_growth(there: Any, here: Any, who: str, grown: Collection[str]) -> None:
    """Raise PartError where configurations ``there`` (grown from) and ``here`` (asked for) differ in more than the sizes ``grown``.

    ``grown`` names sizes as a recipe's ``model`` does. Those may differ, but not shrink; growing them is checked by the caller.
    """
    before, after = sizes_of(there), sizes_of(here)
    if family_of(there).layer(there, 0):
        raise PartError(
            f"{who}: {before['family']} has layers of their own sizes, which do not grow; begin from scratch, or grow an even model"
        )
    for key in before:
        if key not in grown and before[key] != after[key]:
            raise PartError(
                f"{who}: the model it begins from has {key} {before[key]} and this one {after[key]}; {who} changes only {', '.join(grown)}"
            )
        if key in grown and before[key] > after[key]:
            raise PartError(f"{who}: {key} {before[key]} cannot become {after[key]}; growth only adds")
    if rows_of(there) != rows_of(here):
        raise PartError(f"{who}: the vocabulary of the model it begins from has {rows_of(there)} tokens, that of this one {rows_of(here)}")
    refuse_fewer_positions(there, here, who)


def refuse_fewer_positions(there: Any, here: Any, who: str) -> None:
    """Raise PartError, beginning with ``who``, where a model of ``there`` has learned fewer positions than one of ``here`` needs."""
    learned, asked = (family_of(config).positions(config) for config in (there, here))
    if learned is not None and asked is not None and learned < asked:
        raise PartError(
            f"{who}: the model it begins from has learned {learned} positions and this one needs {asked}; "
            "train it at the same context or a longer one"
        )


def grown_config(there: Any, here: Any, sizes: Collection[str], layers: Layers | None = None) -> Any:
    """The configuration of the grown model: that of ``there`` with ``sizes`` of ``here`` and what else a recipe says of a model.

    ``sizes`` are called as in :attr:`windtunnel.slots.Family.names`; anything else is a name of the configuration itself.
    So what no recipe says (the base of the rotation, the epsilon of norms, a size of heads that does not follow from the width) stays
    as the weights know it. Dropout and special tokens are the recipe's. With ``layers`` each layer keeps the kind of attention that
    its source has (some families mix whole and windowed).
    """
    known, asked, names = there.to_dict(), here.to_dict(), family_of(here).names
    keys = {name for size in sizes for name in names.get(size, (size,))}
    said = {key: value for key, value in asked.items() if key in keys or "drop" in key or key.endswith("token_id")}
    for name in names.get("positions", ()):
        if name in known:
            said[name] = max(known[name], asked[name])
    kinds = known.get("layer_types")
    if layers is not None and kinds:
        (places,) = layers.values()
        said["layer_types"] = [kinds[index if index is not None else place % len(kinds)] for place, index in enumerate(places)]
    found = known | said
    for path in (key for key in keys if "." in key):  # of a configuration within this one
        outer, _, inner = path.partition(".")
        found[outer] = found[outer] | {inner: found_in(asked, path)}
    return type(here).from_dict(found)


def depths(model: PreTrainedModel, config: Any) -> dict[str, tuple[int, int]]:
    """For each stack of blocks, how many layers ``model`` has there and how many ``config`` asks for."""
    asked = [found_in(config, name) for name in family_of(config).names["layers"]]
    return {name: (len(blocks), count) for (name, blocks), count in zip(anatomy(model).stacks.items(), asked, strict=True)}


def copy_layers(model: PreTrainedModel, config: Any, seed: int, layers: Layers, who: str) -> PreTrainedModel:
    """A network of ``config`` whose layer ``i`` is a copy of layer ``layers[stack][i]`` of ``model``, or drawn where that is None.

    Everything outside the layers is copied once. ``model`` is left as it is, and nothing is held twice besides the two models.

    Two things do not travel with a layer. t5's table of relative positions belongs to the first place. modernbert's first block has
    no norm before its attention, since embeddings have just been normalised, so a copy of it further up gets one of ones.

    Raises:
        PartError: where a weight has no source or another shape.
    """
    weights = model.state_dict()
    missing: list[str] = []

    def given(name: str, shape: torch.Size) -> torch.Tensor | None:
        source = _source(name, layers)
        if source is None:
            return None
        if source not in weights:
            missing.append(name)
            return None
        if weights[source].shape != shape:
            raise PartError(f"{who}: {name} does not fit ({tuple(weights[source].shape)} before, {tuple(shape)} now)")
        return weights[source]

    grown = fresh(config, seed, given)
    if missing:
        norms = {id(weight) for block in anatomy(grown).blocks for norm in block.norms.values() for weight in norm.parameters()}
        for name in missing:
            if id(grown.get_parameter(name)) not in norms:
                raise PartError(f"{who}: the model it begins from has no weight for {name}")
    return grown


def _source(name: str, layers: Layers) -> str | None:
    """The name of the weight that weight ``name`` of the grown model is copied from; None where it is drawn."""
    for stack, places in layers.items():
        if name.startswith(f"{stack}."):
            index, _, rest = name.removeprefix(f"{stack}.").partition(".")
            source = 0 if "relative_attention_bias" in rest else places[int(index)]
            return None if source is None else f"{stack}.{source}.{rest}"
    return name


def first_of_each(places: Sequence[int]) -> list[bool]:
    """For each new layer whether it is the first copy of its source, which continues it; any further copy is a layer that was added."""
    return [index not in places[:place] for place, index in enumerate(places)]


def silence(block: Block) -> None:
    """Set to zero what ``block`` adds to the residual stream: the outputs of its attentions and of its mlp, biases too."""
    for matrix in outputs(block):
        matrix.set(torch.zeros(matrix.shape))
        bias = matrix.bias()
        if bias is not None:
            matrix.set_bias(torch.zeros_like(bias))


def outputs(block: Block) -> list[Matrix]:
    """The matrices through which ``block`` adds to the residual stream."""
    return [block.attention.o, *([block.cross.o] if block.cross else []), block.mlp.down]
