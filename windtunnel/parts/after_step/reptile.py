"""Meta-steps between the weights some steps ago and now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.kits.optim.anchor import NOT_WITH, move_back, remembered
from windtunnel.slots import AfterStep, Progress

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


class Reptile(AfterStep, name="reptile"):
    """Every ``every`` steps, keep only the share ``kept`` of what the weights have moved since the last time.

    Nichol, Achiam and Schulman 2018, arXiv:1803.02999 (the update); Riemer et al. 2018, arXiv:1810.11910 (with replay, against
    forgetting: its expectation favours gradients of different batches that point the same way); Abbes et al. 2025, arXiv:2508.01908
    (within pre-training). The anchor begins as the phase begins. After ``every`` steps the weights become anchor + kept * (weights -
    anchor), and these the next anchor; the optimizer's moments stay. The published code tests the number of the step about to be
    made, so that it also acts before any step has been made; here steps made are counted. Steps after the last full block are kept as
    they are. A small ``kept`` also slows learning down: compare it with a lower learning rate. The papers say 0.1, the published code
    0.01, both every 500 steps. The anchor is kept in the checkpoint, which grows by the size of the weights.
    """

    trial = Trial({"every": 2})
    identity = {"kept": 1.0}

    conflicts = NOT_WITH

    every: int = Field(500, ge=1, description="steps between two meta-steps, counted within the phase")
    kept: float = Field(0.1, gt=0, le=1, description="share of the movement that is kept (1: all of it, plain training)")

    def state(self, model: PreTrainedModel) -> dict[str, Any]:
        """``anchor``: the weights after the last meta-step, by name."""
        return {"anchor": remembered(model)}

    def after_step(self, model: PreTrainedModel, optimizer: torch.optim.Optimizer, progress: Progress, state: dict[str, Any]) -> None:
        """The meta-step, where one is due."""
        if (progress.step + 1) % self.every:
            return
        move_back(model, state["anchor"], 1.0 - self.kept)
        for name, weight in model.named_parameters():
            if name in state["anchor"]:
                state["anchor"][name].copy_(weight.detach())
