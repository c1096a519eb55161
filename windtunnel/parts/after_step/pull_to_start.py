"""A pull towards where the weights began."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field

from windtunnel.core.errors import PartError
from windtunnel.kits.optim.anchor import move_back, remembered
from windtunnel.slots import AfterStep, Progress

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


class PullToStart(AfterStep, name="pull-to-start"):
    """After every step, move each weight back towards where the phase began, by ``strength`` times its learning rate.

    Li, Grandvalet and Davoine 2018, arXiv:1802.01483 (L2-SP), who add the squared distance from the start to the loss. Here the pull
    acts on the weights, as AdamW's decay does (Loshchilov and Hutter 2017, arXiv:1711.05101), so that it is not divided by the
    gradient's second moment: without gradients the distance shrinks by the factor 1 - rate * strength in each step. The start is kept
    in the checkpoint, which grows by the size of the weights.
    """

    identity = {"strength": 0.0}

    strength: float = Field(0.1, ge=0, description="what the learning rate is multiplied with to give the share moved back (0: nothing)")

    def state(self, model: PreTrainedModel) -> dict[str, Any]:
        """``start``: a copy of every weight that trains, by its name."""
        return {"start": remembered(model)}

    def after_step(self, model: PreTrainedModel, optimizer: torch.optim.Optimizer, progress: Progress, state: dict[str, Any]) -> None:
        """Move the weights back, in place.

        Raises:
            PartError: where rate times strength is above 1, which would throw the weights past their start.
        """
        rates = {id(weight): float(group["lr"]) for group in optimizer.param_groups for weight in group["params"]}

        def share(weight: torch.Tensor) -> float:
            rate = rates.get(id(weight), 0.0)
            if self.strength * rate > 1:
                raise PartError(f"pull-to-start: at a rate of {rate:g} the strength can be {1 / rate:g} at most")
            return self.strength * rate

        move_back(model, state["start"], share)
