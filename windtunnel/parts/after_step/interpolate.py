"""Weights between those a phase began with and those it ended with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field

from windtunnel.kits.optim.anchor import NOT_WITH, move_back, remembered
from windtunnel.slots import AfterStep, Progress

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


class Interpolate(AfterStep, name="interpolate"):
    """When the phase is over, let the weights be (1 - share) of those it began with and ``share`` of those it has reached.

    Wortsman et al. 2022, "Robust fine-tuning of zero-shot models" (WiSE-FT), arXiv:2109.01903: a point on the line between both ends
    often keeps more of the old than it loses of the new. Only the last evaluation of the phase sees it, and a next phase goes on from
    there. The start is kept in the checkpoint, which grows by the size of the weights.
    """

    identity = {"share": 1.0}

    conflicts = NOT_WITH

    share: float = Field(0.5, ge=0, le=1, description="how far towards the trained weights (1: all the way, plain training)")

    def state(self, model: PreTrainedModel) -> dict[str, Any]:
        """``start``: the weights that the phase began with, by name."""
        return {"start": remembered(model)}

    def after_step(self, model: PreTrainedModel, optimizer: torch.optim.Optimizer, progress: Progress, state: dict[str, Any]) -> None:
        """Nothing: the steps are those of plain training."""

    def end(self, model: PreTrainedModel, state: dict[str, Any]) -> None:
        """Move the weights back along the line."""
        move_back(model, state["start"], 1.0 - self.share)
