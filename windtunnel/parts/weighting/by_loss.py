"""Count sequences by how high their loss is beside the others of the batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.slots import BatchContext, Loss, Weighting

if TYPE_CHECKING:
    import torch


class ByLoss(Weighting, name="by-loss"):
    """Weigh the sequences of a batch by their own mean loss: less those that the model knows already, or those that it does not learn.

    Sow et al. 2025, arXiv:2502.06733. The mean loss of each sequence is put on a line from -1, the lowest of the batch, to 1, the highest;
    ``shape`` makes a score of that; the weights are the softmax of the scores over ``temperature``, times the number of sequences, so that
    a batch counts as much as before. The highest weight is at most exp(2 / temperature) times the lowest for ``linear`` and
    exp(1 / temperature) times for the others. ``lin-upper``, the paper's best, rises up to the middle between the lowest and the highest
    loss and is flat above; ``linear`` rises all the way, so noise counts most; ``quadratic`` prefers the middle and ``extremes`` both ends.
    For the first ``warmup`` of the phase all count alike. One sequence of huge loss moves the middle, and then ordinary ones lie below it.

    Their code compares the sequences of all devices. Here those are compared whose loss is computed at once: a micro-batch of a rank. Let
    it hold 32 or more.
    """

    trial = Trial({"warmup": 0.0, "temperature": 0.4})
    identity = {"warmup": 1.0}

    shape: Literal["lin-upper", "linear", "quadratic", "extremes"] = Field("lin-upper", description="what of a loss counts")
    temperature: float = Field(1.0, gt=0, description="the lower, the more weights differ")
    warmup: float = Field(0.05, ge=0, le=1, description="share of the phase, at its beginning, in which all count alike")

    def weigh(self, loss: Loss, batch: dict[str, torch.Tensor], state: dict[str, Any], context: BatchContext) -> torch.Tensor:
        """Weights of the shape of the losses, the same for all targets of a sequence; their mean over the sequences is 1."""
        import torch

        if context.progress.done < self.warmup:
            return torch.ones_like(loss.values, requires_grad=False)
        counts = loss.counts.flatten(1)
        values = loss.values.detach().float().flatten(1)
        means = torch.where(counts, values, 0.0).sum(1) / counts.sum(1).clamp(min=1)
        weights = self.weights(means, counts.any(1)).to(loss.values.dtype)
        return weights.view(-1, *[1] * (loss.values.ndim - 1)).expand_as(loss.values)

    def weights(self, losses: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
        """Weights of mean 1 of the sequences with ``losses`` [sequences] that are ``there``; 1 of those that have no target."""
        import torch

        if not there.any():
            return torch.ones_like(losses)
        lowest, highest = losses[there].min(), losses[there].max()
        place = (2 * losses - highest - lowest) / (highest - lowest).clamp(min=1e-6)
        score = {
            "lin-upper": (place + 1).clamp(max=1.0),
            "linear": place,
            "quadratic": 1 - place**2,
            "extremes": place.abs(),
        }[self.shape]
        share = torch.softmax((score / self.temperature).masked_fill(~there, -torch.inf), dim=0)
        return torch.where(there, share * there.sum(), 1.0)
