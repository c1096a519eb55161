"""Masks over weight matrices: hold weights at zero while the others train, and choose which ones.

A mask is a bool buffer of its weight's shape, True where the weight lives, saved with the model's state. Modules are those of
:func:`windtunnel.models.anatomy.linears`, by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from windtunnel.core.errors import PartError
from windtunnel.models.anatomy import transposed
from windtunnel.models.init import generator

BUFFER = "weight_mask"
HANDLE = "_weight_mask_hook"
GONE = -1.0  # the score of a weight that is masked already: below every other


# Holding weights at zero --------------------------------------------------------------------------------------------------------


def put_on(modules: Mapping[str, nn.Module], masks: Mapping[str, Tensor], part: str) -> None:
    """Give every module its mask: from now on masked weights are zero and so are their gradients. ``part`` is named in errors.

    Raises:
        PartError: where there is no module, or one has a mask already.
    """
    if not modules:
        raise PartError(f"{part}: the blocks of this model hold no weight matrix")
    for name, module in modules.items():
        if hasattr(module, BUFFER):
            raise PartError(f"{part}: {name} already has a mask; remove the first one before applying another")
    for name, module in modules.items():
        weight: Any = module.weight
        module.register_buffer(BUFFER, masks[name].to(weight.device))
        setattr(module, HANDLE, weight.register_hook(_gradient_mask(module)))
        _zero(module)


def hold(model: PreTrainedModel, part: str) -> None:
    """Put masked weights back to zero, which an optimizer's decay and moments do not leave there. Raises PartError without masks."""
    for module in masked(model, part).values():
        _zero(module)


def take_off(model: PreTrainedModel, part: str) -> None:
    """Drop masks and gradient hooks; weights, and so the function, stay as they are. Raises PartError without masks."""
    hold(model, part)
    for module in masked(model, part).values():
        getattr(module, HANDLE).remove()
        delattr(module, HANDLE)
        delattr(module, BUFFER)


def masked(model: PreTrainedModel, part: str) -> dict[str, nn.Module]:
    """The modules that carry a mask, by name. Raises PartError where there are none."""
    found = {name: module for name, module in model.named_modules() if hasattr(module, BUFFER)}
    if not found:
        raise PartError(f"{part}: no mask is in place; apply it first")
    return found


@torch.no_grad()
def _zero(module: nn.Module) -> None:
    module.weight.mul_(getattr(module, BUFFER))  # type: ignore[union-attr, operator]


def _gradient_mask(module: nn.Module) -> Any:
    """A hook that reads the module's mask when it runs, so a mask loaded with the model's state is the one that acts."""

    def hook(gradient: Tensor) -> Tensor:
        return gradient * getattr(module, BUFFER)

    return hook


# Choosing weights ---------------------------------------------------------------------------------------------------------------


@torch.no_grad()
def keep_highest(
    modules: Mapping[str, nn.Module],
    kept: float,
    *,
    score: Literal["magnitude", "random"] = "magnitude",
    seed: int = 0,
    group: tuple[int, int] | None = None,
    part: str = "masks",
) -> dict[str, Tensor]:
    """Masks that keep the share ``kept`` of the weights of all modules together: those that score highest, wherever they are.

    One threshold for all matrices, exact to the nearest weight; of equal scores the first go. A weight that is masked already stays
    so and counts among those that go. Scores are magnitudes, or numbers drawn once for each weight by ``seed`` and its name. With
    ``group`` (n, m) the n highest of every m consecutive inputs of an output are spared whatever the others score, so that at
    ``kept`` n / m exactly they are left.

    Raises:
        PartError: where m does not divide the inputs of a matrix, or fewer than n of every m should be kept.
    """
    if group is not None and kept < group[0] / group[1] - 1e-9:
        raise PartError(f"{part}: {kept:.4g} of the weights cannot be kept while {group[0]} of every {group[1]} are")
    scores = {}
    for name, module in modules.items():
        weight: Any = module.weight
        if score == "magnitude":
            values = weight.detach().abs().float()
        else:
            values = torch.rand(weight.shape, generator=generator(seed, f"{name}.weight")).to(weight.device)
        mask = getattr(module, BUFFER, None)
        scores[name] = values if mask is None else values.masked_fill(~mask, GONE)
        if group is not None:
            spared = highest_of_group(scores[name], *group, axis=0 if transposed(module) else 1, name=name, part=part)
            scores[name] = scores[name].masked_fill(spared, torch.inf)
    flat = torch.cat([values.flatten() for values in scores.values()])
    drop = flat.numel() - round(kept * flat.numel())
    stay = torch.ones_like(flat, dtype=torch.bool)
    if drop:
        threshold = flat.kthvalue(drop).values
        stay = flat >= threshold
        level = torch.nonzero(flat == threshold).flatten()
        stay[level[: drop - int((flat < threshold).sum())]] = False
    pieces = stay.split([values.numel() for values in scores.values()])
    return {name: piece.view(values.shape) & (values != GONE) for (name, values), piece in zip(scores.items(), pieces, strict=True)}


def highest_of_group(scores: Tensor, kept: int, size: int, *, axis: int, name: str, part: str) -> Tensor:
    """A bool tensor of the shape of ``scores`` that is True for the ``kept`` highest of every ``size`` consecutive along ``axis``.

    Of equal scores the first count as higher. Raises PartError where ``size`` does not divide the axis.
    """
    length = scores.shape[axis]
    if length % size:
        fits = [other for other in range(2, length + 1) if length % other == 0 and other <= 4 * size]
        raise PartError(f"{part}: groups of {size} do not divide the {length} inputs of {name}; groups of these sizes do: {fits}")
    groups = scores.movedim(axis, -1).unflatten(-1, (-1, size))
    order = groups.argsort(dim=-1, descending=True, stable=True)
    high = torch.zeros_like(groups, dtype=torch.bool).scatter_(-1, order[..., :kept], True)
    return high.flatten(-2).movedim(-1, axis)
