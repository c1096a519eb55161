"""Rebalance factorised weights and start the moments anew, from time to time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field, model_validator

from windtunnel.core.trial import Trial
from windtunnel.slots import AfterStep, Progress

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

LOWEST = 0.001  # share of the usual rate that the first step after a reset is made with


class Refactorise(AfterStep, name="refactorise"):
    """Every ``every`` updates, split each product B A evenly between its factors, and forget the optimizer's moments.

    Weight refactorisation and momentum reset of Glentis et al. 2025, "Scalable Parameter and Memory Efficient Pretraining for LLM",
    arXiv:2505.22922; T = 200 there. With the SVD B A = U S V^T it sets B = U sqrt(S) and A = sqrt(S) V^T: the same product up to
    rounding, so the function stays and so does its rank; a sparse part is not touched. The reset is that of their code, which builds
    the optimizer anew: moments and step counts of all parameters, embeddings and norms included. After it the rate rises linearly over
    ``recovery`` steps, from a thousandth of the usual one to all of it (theirs rises to what the schedule says at the end of the
    recovery; here the schedule goes on underneath). Each of the two can be had alone; without a reset the rate is never lowered.

    The decompositions happen at no step that FLOPs are counted on: of QR and SVD of thin matrices every ``every`` steps only the
    seconds are seen.
    """

    trial = Trial({"every": 2, "recovery": 1}, beside={"structure": {"low-rank": {"rank": 4}}})
    identity = {"every": 1000}

    every: int = Field(200, ge=1, description="updates between two times, counted within the phase")
    factors: bool = Field(True, description="whether products are split evenly")
    reset: bool = Field(True, description="whether moments and step counts of all parameters are cleared")
    recovery: int = Field(10, ge=0, description="steps over which the rate rises after a reset (0: at once)")

    @model_validator(mode="after")
    def _something(self) -> Refactorise:
        if not (self.factors or self.reset):
            raise ValueError("with factors and reset both false nothing is done; leave the part out")
        if self.reset and self.recovery >= self.every:
            raise ValueError(f"the rate would never recover: recovery {self.recovery} is not below every {self.every}")
        return self

    def state(self, model: PreTrainedModel) -> dict[str, Any]:
        """Nothing to remember. Raises PartError, before the first step, where nothing is factorised."""
        from windtunnel.kits.weights.factors import factorised

        factorised(model, self.name)
        return {}

    def rate(self, progress: Progress) -> float:
        """Below 1 for ``recovery`` steps after each reset."""
        since = progress.step % self.every
        if not self.reset or progress.step < self.every or since >= self.recovery:
            return 1.0
        return LOWEST + (1 - LOWEST) * since / max(1, self.recovery - 1)

    def after_step(self, model: PreTrainedModel, optimizer: torch.optim.Optimizer, progress: Progress, state: dict[str, Any]) -> None:
        """Acts after updates ``every``, 2 ``every`` and so on. Raises PartError where nothing is factorised."""
        if (progress.step + 1) % self.every:
            return
        import torch

        from windtunnel.kits.weights.factors import balanced, factorised

        found = factorised(model, self.name)
        if self.factors:
            seen = set()
            with torch.no_grad():
                for module in found.values():
                    if id(module.left) not in seen:
                        seen.add(id(module.left))
                        left, right = balanced(module.left, module.right)
                        module.left.copy_(left)
                        module.right.copy_(right)
        if self.reset:
            optimizer.state.clear()  # every optimizer here makes its state when it first needs it
