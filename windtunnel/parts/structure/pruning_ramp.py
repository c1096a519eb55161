"""Train dense, remove the smallest weights step by step, train on with what is left."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field, field_validator, model_validator

from windtunnel.core.errors import PartError
from windtunnel.kits.weights.patterns import group_of
from windtunnel.slots import Progress, Structure

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel

ROUNDING = 1e-9  # of a share of the phase: an event that is due at a step's very beginning happens before it


class PruningRamp(Structure, name="pruning-ramp"):
    """Prune from dense to ``sparsity`` while training: dense, then pruning events at equal distances in steps, then a fixed mask.

    Jin et al. 2025, "The Journey Matters", arXiv:2501.12486, as their published code has it. Each of n events leaves the same share of
    what was there, so after event k = 1 .. n the share (1 - sparsity)^(k / n) of the weights is kept: of all prunable matrices
    together those of largest magnitude, by one threshold, exact to the nearest weight. Nothing grows back. The event of a step
    comes before its update. Embeddings, norms, biases and (without ``head``) the output matrix stay dense.

    ``begin`` and ``end`` are shares of the phase's compute in the prunable weights, which is how the authors' settings follow from
    25 and 75 %: sparse steps cost less, so in steps pruning begins and ends earlier (at sparsity 0.5 at 17 and 65 %). Where the
    head and attention take much of a step, the shares of all effective FLOPs differ somewhat. ``begin`` equal to ``end`` prunes once;
    at 0 that is before the first step, so a phase after a dense one fine-tunes a pruned model. Events are given by number and
    not by their distance because the sparsity at a given share of the phase must not depend on how many steps the budget buys;
    where there are fewer steps than events, several happen at once.

    Here removed weights are set to zero and their moments fade; the authors keep training state and decay for them behind the mask.
    As nothing grows back, the function is the same. The arithmetic stays dense; what sparse hardware would save is in the effective
    FLOPs, which leave a pruned head out of account.
    """

    identity = {"sparsity": 0.0}

    sparsity: float = Field(0.5, ge=0, lt=1, description="share of the prunable weights that is removed in the end")
    begin: float = Field(0.25, ge=0, le=1, description="share of the phase's compute (in the prunable weights) before the first event")
    end: float = Field(0.75, ge=0, le=1, description="share of it before the last event; equal to begin: everything at once")
    events: int = Field(50, ge=1, description="how many times weights are removed, at equal distances in steps")
    pattern: str = Field(
        "unstructured", description='"2:4" keeps two of every four consecutive inputs (any numbers), ramping by one threshold as well'
    )
    score: Literal["magnitude", "random"] = Field("magnitude", description="what the weights with the lowest of are removed")
    head: bool = Field(False, description="whether an output matrix that is not tied to the embedding is pruned with the blocks")
    seed: int = Field(0, ge=0, description="decides, with each weight's name, the random scores")

    @field_validator("pattern")
    @classmethod
    def _is_known(cls, value: str) -> str:
        group_of(value)
        return value

    @model_validator(mode="after")
    def _in_order(self) -> PruningRamp:
        if self.begin > self.end:
            raise ValueError(f"begin ({self.begin:g}) comes after end ({self.end:g}); give them in order, equal ones to prune once")
        if self.begin < self.end and self.events < 2:
            raise ValueError("one event cannot both begin and end a ramp; give two events or more, or equal begin and end")
        group = group_of(self.pattern)
        if group and abs(self.sparsity - (1 - group[0] / group[1])) > 1e-6:
            raise ValueError(f"pattern {self.pattern} means sparsity {1 - group[0] / group[1]:g}, not {self.sparsity:g}; let them agree")
        return self

    def schedule(self) -> list[tuple[float, float]]:
        """Every event as (share of the phase's steps that comes before it, share of the prunable weights that is kept after it)."""
        kept = [(1 - self.sparsity) ** ((event + 1) / self.events) for event in range(self.events)]
        # A share of compute is that share of steps divided by the density they have, all of it scaled to one phase.
        dense, last = self.begin, (1 - self.end) / kept[-1]
        ramp = (self.end - self.begin) * (self.events - 1) / sum(kept[:-1]) if self.end > self.begin else 0.0
        whole = dense + ramp + last
        between = max(1, self.events - 1)
        return [(min(1.0, (dense + ramp * event / between) / whole), share) for event, share in enumerate(kept)]

    def kept(self, done: float) -> float:
        """The share of the prunable weights that is kept in a step at share ``done`` of the phase."""
        return min((share for time, share in self.schedule() if time <= done + ROUNDING), default=1.0)

    def apply(self, model: PreTrainedModel) -> None:
        """Put masks on all prunable matrices: full ones, or those of an event that comes before the first step.

        Raises:
            PartError: where there is nothing to prune, a mask is already in place, the head is tied, or groups do not divide inputs.
        """
        import torch

        from windtunnel.kits.weights.masks import hold, put_on

        modules = self._prunable(model)
        put_on(modules, {name: torch.ones_like(module.weight, dtype=torch.bool) for name, module in modules.items()}, self.name)  # type: ignore[arg-type]
        self._prune(model, self.kept(0.0))
        hold(model, self.name)

    def constrain(self, model: PreTrainedModel, progress: Progress | None = None) -> None:
        """Remove what is due before the next step, and keep at zero what was removed."""
        from windtunnel.kits.weights.masks import hold

        if progress is not None:
            now, coming = self.kept(progress.step / progress.steps), self.kept((progress.step + 1) / progress.steps)
            by_the_clock = progress.done != progress.step / progress.steps  # then the number of steps is a guess and an event may be missed
            if coming < now or (by_the_clock and coming < 1):
                self._prune(model, coming)
        hold(model, self.name)

    def remove(self, model: PreTrainedModel) -> None:
        """Drop masks and gradient hooks; weights, and so the function, stay as they are."""
        from windtunnel.kits.weights.masks import take_off

        take_off(model, self.name)

    def density(self, model: PreTrainedModel, done: float = 1.0) -> float:
        """The share of the blocks' weights that are kept at share ``done`` of the phase; with ``head``, as if all kept the same share."""
        return self.kept(done)

    def _prunable(self, model: PreTrainedModel) -> dict[str, nn.Module]:
        from windtunnel.models.anatomy import anatomy, linears

        modules = linears(model)
        if self.head:
            view = anatomy(model)
            if view.head is None:
                raise PartError(f"{self.name}: {view.family} has no matrix for a head; set head: false")
            if view.tied:
                raise PartError(f"{self.name}: the head of this model is its embedding, which stays dense; set tied: false or head: false")
            modules[view.head.name] = view.head.module
        return modules

    def _prune(self, model: PreTrainedModel, kept: float) -> None:
        from windtunnel.kits.weights.masks import BUFFER, keep_highest, masked

        modules = masked(model, self.name)
        masks = keep_highest(modules, kept, score=self.score, seed=self.seed, group=group_of(self.pattern), part=self.name)
        for name, module in modules.items():
            getattr(module, BUFFER).copy_(masks[name])
