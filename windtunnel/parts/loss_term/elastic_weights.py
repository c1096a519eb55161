"""A pull towards where the weights began, as strong for each weight as earlier text needs it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from windtunnel.core.errors import PartError
from windtunnel.core.settings import Many
from windtunnel.core.trial import Trial
from windtunnel.slots import BatchContext, LookContext, Loss, LossTerm

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


class ElasticWeights(LossTerm, name="elastic-weights"):
    """Add the squared distance of each weight from where the phase began, times the Fisher information that earlier text gives it.

    Kirkpatrick et al. 2017, "Overcoming catastrophic forgetting in neural networks" (EWC), arXiv:1612.00796: to second order, this is
    what the loss on the earlier text rises by. Before the first step, the gradient of the log-likelihood of each of ``sequences``
    sequences of every named source is squared; the sum, divided by the number of targets, is the diagonal of the Fisher information
    of one target. The term is strength / 2 * sum of information * distance squared, so at strength 1 a target of the earlier text
    counts as much as one of the new. With ``labels: model``, the definition, targets are drawn from the model's own predictions;
    ``data`` takes the text's, which is common and no longer an information (Kunstner, Balles and Hennig 2019, arXiv:1905.12558). The
    cost of the estimate is charged. Start and information are kept in the checkpoint, which grows by twice the size of the weights.
    """

    local = "it keeps a copy of the weights and what each is worth"

    trial = Trial({"sources": ["code"], "sequences": 2})
    identity = {"strength": 0.0}

    sources: Many[str] = Field(min_length=1, description="the sources of earlier text that is to be kept")
    strength: float = Field(1.0, ge=0, description="what the term is multiplied with (0: plain training)")
    sequences: int = Field(64, ge=1, description="sequences of each source that the information is estimated on")
    labels: Literal["model", "data"] = Field(
        "model", description="whose targets the information is of: drawn from the model, or the text's"
    )

    def looks_at(self) -> tuple[str, ...]:
        """The sources to be kept."""
        return self.sources

    def state(self, model: PreTrainedModel) -> dict[str, Any]:
        """``start``: the weights that the phase began with; ``information``: the diagonal, still zero."""
        import torch

        weights = {name: weight.detach() for name, weight in model.named_parameters() if weight.requires_grad}
        return {
            "start": {name: weight.clone() for name, weight in weights.items()},
            "information": {name: torch.zeros_like(weight) for name, weight in weights.items()},
        }

    def look(self, model: PreTrainedModel, state: dict[str, Any], context: LookContext) -> None:
        """Estimate the information, one sequence at a time: the square of a sum of gradients is not the sum of their squares.

        Raises:
            PartError: where the text holds no target, or targets cannot be drawn from what the model predicts.
        """
        if not self.strength:
            return
        targets = 0
        for source in self.sources:
            for batch in context.batches(source, self.sequences, 1):
                judged = self._drawn(model, batch, context) if self.labels == "model" else batch
                model.zero_grad(set_to_none=True)
                with context.precision():
                    loss = context.objective.loss(model, judged)
                    total = (loss.values * loss.counts).sum()
                total.backward()
                targets += int(loss.counts.sum())
                for name, weight in model.named_parameters():
                    if weight.grad is not None and name in state["information"]:
                        state["information"][name].add_(weight.grad.square())
        if not targets or not any(bool(information.any()) for information in state["information"].values()):
            raise PartError(f"elastic-weights: the sequences of {', '.join(self.sources)} say nothing about any weight")
        for information in state["information"].values():
            information.div_(targets)

    def _drawn(self, model: PreTrainedModel, batch: dict[str, torch.Tensor], context: LookContext) -> dict[str, torch.Tensor]:
        """``batch`` with labels drawn from what the model predicts where the text has them."""
        import torch

        with torch.no_grad(), context.precision():
            logits = context.objective.loss(model, batch, frozenset({"logits"})).outputs.logits
        labels = batch["labels"]
        if logits.shape[:-1] != labels.shape:  # an encoder-decoder predicts in another layout than that of its labels
            raise PartError(f"elastic-weights: targets of {context.objective.name} cannot be drawn from this model; write labels: data")
        drawn = torch.multinomial(logits.float().softmax(-1).flatten(0, 1), 1).view_as(labels)
        return {**batch, "labels": torch.where(labels != -100, drawn, labels)}

    def term(
        self, model: PreTrainedModel, batch: dict[str, torch.Tensor], loss: Loss, state: dict[str, Any], context: BatchContext
    ) -> torch.Tensor:
        """Half the strength times the weighted squared distance."""
        total = loss.values.new_zeros(())
        if not self.strength:
            return total
        for name, weight in model.named_parameters():
            if name in state["start"]:
                total = total + (state["information"][name] * (weight - state["start"][name]).square()).sum()
        return 0.5 * self.strength * total
