"""Blocks that share parameters: one set for a stage of blocks, or a straight line through the layers.

While shared, only the first block of a stage that has a parameter holds it (the owner). The same module of every other block reads
``owner + distance * slope`` whenever its weight is asked for, so values never lag behind the optimizer and gradients are exact. The
slope, where there is one, is a child of the owner's block with modules of the same kinds and names, so optimizers that treat matrices
by where they stand find both. Shared values are computed and not stored: the state holds each trained parameter once.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Literal

import torch
from torch import Tensor, nn

from windtunnel.core.errors import PartError
from windtunnel.kits.weights.grow import refuse_fewer_positions
from windtunnel.models.anatomy import Block, anatomy
from windtunnel.models.sizes import rows_of, sizes_of

SLOPE = "slope"  # the child of an owner's block that holds the slopes
SHARES = "_shares"  # on a module that reads its weights elsewhere: name -> (owner, slope or None, distance)


def holders(blocks: Sequence[Block]) -> dict[str, dict[int, nn.Parameter]]:
    """Every parameter by its path within a block, and by the place in ``blocks`` of each block that has it.

    Not every block has every one: the first of modernbert lacks a norm, and only the first of t5 has a table of positions.
    """
    found: dict[str, dict[int, nn.Parameter]] = {}
    for place, block in enumerate(blocks):
        for path, parameter in block.module.named_parameters():
            found.setdefault(path, {})[place] = parameter
    return found


def split(stages: int | Sequence[int], depth: int, name: str) -> tuple[int, ...]:
    """How many blocks each stage has. A number of stages is split evenly, what remains going to the stages from the middle outward.

    So 5 stages of 16 blocks are 3, 3, 4, 3, 3. Raises PartError, for the part ``name``, where they do not make up ``depth`` blocks.
    """
    if isinstance(stages, int):
        if stages > depth:
            raise PartError(f"{name}: {stages} stages need as many blocks, and there are {depth}; set stages to at most {depth}")
        share, rest = divmod(depth, stages)
        middle = sorted(range(stages), key=lambda stage: abs(2 * stage - (stages - 1)))[:rest]
        return tuple(share + (stage in middle) for stage in range(stages))
    if sum(stages) != depth:
        even = list(split(min(len(stages), depth), depth, name))
        raise PartError(f"{name}: stages {list(stages)} are {sum(stages)} blocks, and there are {depth}; for example stages: {even}")
    return tuple(stages)


def refuse_shared(model: nn.Module, name: str) -> None:
    """Raises PartError, for the part ``name``, where blocks of ``model`` share parameters already."""
    if any(hasattr(module, SHARES) for module in model.modules()):
        raise PartError(f"{name}: blocks of this model share parameters already; remove that structure before applying another")


@torch.no_grad()
def share(blocks: Sequence[Block], slope: Literal["none", "drawn", "through-ends"] = "none", depth: int = 1) -> int:
    """Let ``blocks`` share each parameter that at least two of them have; returns how many tensors are read instead of held.

    Without a slope all read the owner's. Else block i reads ``owner + (i - place of the owner) / depth * slope``; the slope begins as
    the last block's own matrix and zero for norms and biases (``drawn``), or such that the last block keeps its values too
    (``through-ends``).
    """
    replaced = 0
    for path, places in holders(blocks).items():
        (first, value), *others = places.items()
        if not others:
            continue
        where, _, name = path.rpartition(".")
        owner, slopes = blocks[first].module.get_submodule(where), None
        if slope != "none":
            last, end = others[-1]
            through = slope == "through-ends"
            rise = (end - value) * (depth / (last - first)) if through else end.clone() if end.ndim > 1 else torch.zeros_like(end)
            slopes = _twin(blocks[first].module, where)
            slopes.register_parameter(name, nn.Parameter(rise, value.requires_grad))
        for place, _ in others:
            module: Any = blocks[place].module.get_submodule(where)
            del module._parameters[name]
            module.__dict__.setdefault(SHARES, {})[name] = (owner, slopes, (place - first) / depth)
            module.__class__ = _reading(module.__class__, name)
            replaced += 1
    return replaced


@torch.no_grad()
def unshare(model: Any, name: str) -> None:
    """Give every block parameters of its own again, with the values it has read. Raises PartError where nothing is shared."""
    found = [module for module in model.modules() if hasattr(module, SHARES)]
    for module in found:
        values = {key: (getattr(module, key).clone(), owner[0]) for key, owner in getattr(module, SHARES).items()}
        module.__class__ = module.__class__.plain
        delattr(module, SHARES)
        for key, (value, owner) in values.items():
            module.register_parameter(key, nn.Parameter(value, getattr(owner, key).requires_grad))
    for block in anatomy(model).blocks:
        block.module._modules.pop(SLOPE, None)
    if not found:
        raise PartError(f"{name}: no block shares a parameter; apply the structure first")


def _twin(block: nn.Module, path: str) -> nn.Module:
    """The module of the slopes that stands at ``path`` below ``block.slope``, of the kind of the one at ``block.path`` and empty."""
    kind = block.get_submodule(path)
    for key in (SLOPE, *path.split(".")):
        if key not in block._modules:
            block.add_module(key, nn.Module())
        above, block = block, block._modules[key]  # type: ignore[assignment]
    if type(block) is nn.Module:
        block = copy.deepcopy(kind)
        block._parameters.update(dict.fromkeys(block._parameters))
        above._modules[key] = block
    return block


@lru_cache
def _reading(kind: Any, name: str) -> type[Any]:
    """The class ``kind`` whose parameter ``name`` is read where :data:`SHARES` says; ``plain`` is the class as the family made it."""

    def read(module: Any) -> Tensor:
        owner, slope, distance = getattr(module, SHARES)[name]
        value = getattr(owner, name)
        # A view, because a Parameter in the place of another would be trained once for each block by who asks the blocks.
        return value.view_as(value) if slope is None else torch.add(value, getattr(slope, name), alpha=distance)

    return type(kind.__name__, (kind,), {name: property(read), "plain": getattr(kind, "plain", kind), "__module__": kind.__module__})


# What starts that change only depth ask ------------------------------------------------------------------------------------------


def refuse_all_but_depth(there: Any, here: Any, who: str) -> None:
    """Raise PartError, beginning with ``who``, where configurations ``there`` and ``here`` differ in more than the number of layers."""
    before, after = ({**sizes_of(config), "vocabulary": rows_of(config)} for config in (there, here))
    for key in before:
        if key != "layers" and before[key] != after[key]:
            raise PartError(
                f"{who}: the model it begins from has {key} {before[key]} and this one {after[key]}; only layers may differ, set {key}: "
                f"{str(before[key]).lower()}"
            )
    refuse_fewer_positions(there, here, who)
