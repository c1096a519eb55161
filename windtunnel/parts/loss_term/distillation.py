"""Learning from the soft labels of another model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from windtunnel.core.errors import PartError
from windtunnel.core.part import Trained
from windtunnel.core.trial import Trial
from windtunnel.slots import BatchContext, Loss, LossTerm

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


class Distillation(LossTerm, name="distillation"):
    """Give a share of the loss to the soft labels of a teacher: (1 - weight) CE(label) + weight KL(teacher, student).

    Hinton, Vinyals and Dean 2015, arXiv:1503.02531. The divergence is the forward one, over the whole vocabulary, of every target; up
    to a constant it is the cross entropy of the student under the teacher's distribution. The teacher reads the same batch through
    the same objective, so this works wherever the objective does, on decoders, encoders and encoder-decoders.

    The softmax is taken of logits / temperature. ``soften: teacher`` softens the teacher only, as when a small teacher's labels are
    one of two targets of a larger student's ordinary softmax (Rawat et al. 2024, arXiv:2410.18779); ``soften: both`` softens both and
    multiplies the divergence by the temperature's square, which keeps the size of its gradient (Hinton et al.; with weight 1 and
    temperature 1 it is how Xia et al. 2024, arXiv:2312.05614, train learngenes). At temperature 1 they are the same.

    The share is taken from the objective's own loss, label by label; a weighting of the same phase still acts on that loss alone.
    """

    trial = Trial({"teacher": {"folder": "@model"}})
    identity = {"weight": 0.0}

    needs: ClassVar[frozenset[str]] = frozenset({"logits"})

    teacher: Trained = Field(description="the model whose predictions are learned from; it must have the student's vocabulary")
    weight: float = Field(0.5, ge=0, le=1, description="share of the loss that the soft labels get (0: plain training, 1: no labels)")
    temperature: float = Field(1.0, gt=0, description="what logits are divided by: above 1 soft labels are softer, below 1 sharper")
    soften: Literal["teacher", "both"] = Field("teacher", description="whose logits the temperature divides: the teacher's, or both")

    def term(
        self, model: PreTrainedModel, batch: dict[str, torch.Tensor], loss: Loss, state: dict[str, Any], context: BatchContext
    ) -> torch.Tensor:
        """weight (KL - CE) in nats, a mean over the counted targets.

        Raises:
            PartError: for a teacher of another vocabulary, and an objective whose targets are numbers.
        """
        import torch
        from torch.nn.functional import kl_div, log_softmax

        from windtunnel.models.forward import logits_of_targets
        from windtunnel.models.sizes import rows_of

        if loss.outputs.logits.shape == loss.counts.shape:
            raise PartError(f"distillation: what {context.objective.name} says is a number for each target, which has no soft labels")
        teacher, both = context.models["teacher"], self.soften == "both"
        known, own = rows_of(teacher.config), rows_of(model.config)
        if known != own:
            raise PartError(
                f"distillation: the teacher predicts {known} tokens and the student {own}; soft labels need one vocabulary, so train both "
                "with the same tokenizer"
            )
        with torch.no_grad():
            seen = context.objective.loss(teacher, batch, self.needs)
            soft = log_softmax(logits_of_targets(teacher, batch, loss.counts, seen.outputs.logits) / self.temperature, dim=-1)
        logits = logits_of_targets(model, batch, loss.counts, loss.outputs.logits)
        guess = log_softmax(logits / self.temperature if both else logits, dim=-1)
        divergence = kl_div(guess, soft, reduction="sum", log_target=True) * (self.temperature**2 if both else 1.0)
        labelled = torch.where(loss.counts, loss.values, 0.0).sum()
        return self.weight * (divergence - labelled) / loss.counts.sum().clamp(min=1)
