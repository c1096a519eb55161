"""The body of a model goes back to where the phase began, step by step, while what reads it goes on training."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from windtunnel.core.errors import PartError
from windtunnel.core.trial import Trial
from windtunnel.kits.optim.anchor import NOT_WITH, move_back, remembered
from windtunnel.slots import AfterStep, Progress

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


class Revert(AfterStep, name="revert"):
    """From ``after`` to ``until`` of the phase, move the weights of the body back to those it began with, and hold them there.

    Dey et al. 2024, "ReVLA", arXiv:2409.15250: tuning a pre-trained encoder on little that is alike makes it forget what lies outside. To
    go back at once breaks what was learned behind it, so the way back is walked while that goes on training. At a share a of the way,
    weights are (1 - a) of those trained and a of the first. ``after`` and ``until`` at the same place go back at once.

    The body is all but the head, and without the last ``free`` blocks of each stack and the norm behind them. A copy of its weights is kept
    in the checkpoint. Gradients of the body are still computed, so nothing is saved.
    """

    trial = Trial({"after": 0.25, "until": 0.5, "free": 1})
    identity = "weights that go back are other weights"

    conflicts = NOT_WITH

    after: float = Field(0.3, ge=0, lt=1, description="share of the phase after which the way back begins")
    until: float = Field(0.8, gt=0, lt=1, description="share of the phase after which the body is what it was at first")
    shape: Literal["linear", "cosine"] = Field("linear", description="how the way is walked")
    free: int = Field(0, ge=0, description="last blocks of each stack that are not moved back")

    @model_validator(mode="after")
    def _forward(self) -> Revert:
        if self.after > self.until:
            raise ValueError(f"after ({self.after:g}) is behind until ({self.until:g})")
        return self

    def state(self, model: PreTrainedModel) -> dict[str, Any]:
        """``start``: a copy of every weight of the body that trains, by its name.

        Raises:
            PartError: where no weight would be moved back, or none would train on.
        """
        every, body = remembered(model), self._body(model)
        start = {name: weight for name, weight in every.items() if name in body}
        if not start:
            raise PartError(f"{self.name}: no weight of the body trains, so nothing would go back")
        if len(start) == len(every):
            raise PartError(f"{self.name}: the head is not a matrix of its own, so nothing would go on training; set free to 1 or more")
        return {"start": start}

    def _body(self, model: PreTrainedModel) -> set[str]:
        from windtunnel.models.init import family_of

        within: Any = model.base_model
        ids = {id(weight) for weight in within.parameters()}
        places = family_of(model.config).places(model.config)
        last: list[str] = []
        for stack in places.stacks:
            blocks: Any = model.get_submodule(stack)
            last += [f"{stack}.{len(blocks) - 1 - place}." for place in range(self.free)]
        behind = tuple(f"{norm}." for norm in places.final) if self.free else ()
        return {name for name, weight in model.named_parameters() if id(weight) in ids and not name.startswith((*last, *behind))}

    def after_step(self, model: PreTrainedModel, optimizer: torch.optim.Optimizer, progress: Progress, state: dict[str, Any]) -> None:
        """Move the body by what the share of the way has grown since the step before, in place."""
        now, before = self._way((progress.step + 1) / progress.steps), self._way(progress.step / progress.steps)
        move_back(model, state["start"], 1.0 if before >= 1 else max(now - before, 0.0) / (1 - before))

    def end(self, model: PreTrainedModel, state: dict[str, Any]) -> None:
        """The body is what it was, whatever was reckoned of the steps."""
        move_back(model, state["start"], 1.0)

    def _way(self, done: float) -> float:
        """The share of the way that is walked when ``done`` of the phase is over."""
        if done >= self.until:
            return 1.0
        part = max(done - self.after, 0.0) / (self.until - self.after) if self.until > self.after else 0.0
        return part if self.shape == "linear" else (1 - math.cos(math.pi * part)) / 2
