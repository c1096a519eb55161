"""Weights remembered, and weights moved back towards them: what pulls, meta-steps and interpolations share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

# A structure that goes on changing what it removes would find its removed weights brought back from the remembered ones.
NOT_WITH = {
    "pruning-ramp": "the remembered weights still hold what the ramp has removed since",
    "refactorise": "factors that were computed anew cannot be mixed with those from before",
}


def remembered(model: Any) -> dict[str, torch.Tensor]:
    """A copy of every weight that trains, by its name, for the state of a part."""
    return {name: weight.detach().clone() for name, weight in model.named_parameters() if weight.requires_grad}


def move_back(model: Any, anchor: Mapping[str, torch.Tensor], share: float | Callable[[Any], float]) -> None:
    """Move each weight in ``anchor`` towards it by ``share`` of the distance (of each weight, if a function), in place.

    A share of 0 leaves a weight as it is to the last bit, 1 makes it the anchor's.
    """
    import torch

    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name in anchor and (part := share(weight) if callable(share) else share):
                weight.lerp_(anchor[name], part)
