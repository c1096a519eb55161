"""Count above all the targets that complete a pair of tokens which has come before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field

from windtunnel.core.errors import PartError
from windtunnel.core.trial import Trial
from windtunnel.parts.objective.next_token import NextToken
from windtunnel.slots import BatchContext, Loss, Weighting

if TYPE_CHECKING:
    import torch


class Repeats(Weighting, name="repeats"):
    """Weigh 1 the targets that follow the same token as once before in their document, and ``others`` all the rest.

    Such targets can be read off the context, which is what `gapped-copy` trains: there the rest is random, and its gradients are noise.
    That a few targets hold what a long context is worth, and that weighing them teaches more, is the finding of Fang et al. 2024, "What is
    Wrong with Perplexity for Long-context Language Modeling?", arXiv:2410.23771, who find them by the losses at two lengths of context.
    """

    trial = Trial({"others": 0.1})
    identity = {"others": 1.0}

    others: float = Field(0.0, ge=0, description="weight of the targets that complete no pair seen before")

    def weigh(self, loss: Loss, batch: dict[str, torch.Tensor], state: dict[str, Any], context: BatchContext) -> torch.Tensor:
        """Weights [B, T]. Raises PartError for an objective whose labels are not the next tokens of what it reads."""
        import torch

        tokens, labels = batch.get("tokens"), batch.get("labels")
        hidden = not isinstance(context.objective.measured_by(), NextToken)
        if hidden or tokens is None or labels is None or tokens.shape != loss.values.shape or "prefix" in batch:
            raise PartError(f"{self.name}: needs next tokens as labels; use it with the objective next-token")
        documents = batch.get("documents", torch.zeros_like(tokens))
        same = (tokens[:, :, None] == tokens[:, None]) & (labels[:, :, None] == labels[:, None])
        before = (same & (documents[:, :, None] == documents[:, None])).tril(-1).any(-1)
        return torch.where(before, 1.0, self.others)
