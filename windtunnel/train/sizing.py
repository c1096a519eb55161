"""How large the budget of a study is that is given in tokens per parameter: in the FLOPs of the baseline's real step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from windtunnel.core.keys import Variant
from windtunnel.recipe import Budget, Recipe
from windtunnel.train.variant import trial

if TYPE_CHECKING:
    import torch

    from windtunnel.data.stream import Stream


def counted_budget(recipe: Recipe, stream: Stream, device: torch.device, variant: Variant) -> Budget:
    """The budget of ``recipe``, given in tokens per parameter, as the FLOPs of that many tokens, counted on a real step of each phase.

    What parts that hold models spend is not in it: they pay out of it, as every arm does.
    """
    flops = 0.0
    for index, phase in enumerate(recipe.phases):
        with trial(recipe, stream, device, variant, index) as phase_run:
            steps = recipe.allowance.amount * phase.share / phase_run.step_tokens
            flops += steps * phase_run.cost.step["flops"]
    return Budget(flops=flops)
