"""Training on what is hard for a small model, yet learnable."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from windtunnel.core.errors import PartError
from windtunnel.core.part import Trained
from windtunnel.core.trial import Trial
from windtunnel.slots import BatchContext, Selection

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

ENOUGH = 1 / 3  # share of labels the scorer must rank high; a median needs a half of them, and sequences differ


class Learnable(Selection, name="learnable"):
    """Choose the sequences that a scorer finds hard but not hopeless: those of the highest median loss, hopeless targets counted as 0.

    Rawat et al. 2024, arXiv:2410.18779 (Eq. 10, SALT_DS). A target is hopeless where its label is not among the ``top`` likeliest of
    the scorer; a sequence mostly of such scores 0 and comes last, as one that is easy throughout does. The scorer is meant to be
    an early checkpoint of a small model: it knows little, so that its order is not that of what it has memorised.

    The paper scores its data once before training and keeps the best; here each step draws ``candidates`` times its batch and keeps
    the best of those. Every candidate costs one forward of the scorer. Where less than half of all labels are among the ``top``
    likeliest, most sequences score 0 alike: then the scorer has learned too little, or ``top`` is too small for it.
    """

    trial = Trial({"scorer": {"folder": "@model"}, "candidates": 2, "top": 500})
    identity = {"candidates": 1}

    scorer: Trained = Field(description="the model whose losses choose; it must have the student's vocabulary")
    top: int = Field(10, ge=1, description="how many of the scorer's likeliest tokens a label must be among for its loss to count")

    def score(self, model: PreTrainedModel, batch: dict[str, torch.Tensor], context: BatchContext) -> torch.Tensor:
        """The median in nats of each sequence, float [sequences]; not a number where a sequence has no target.

        Raises:
            PartError: for a scorer of another vocabulary, and before the first step for one to which nearly everything is hopeless.
        """
        import torch

        from windtunnel.models.forward import logits_of_targets
        from windtunnel.models.sizes import rows_of

        scorer = context.models["scorer"]
        known, own = rows_of(scorer.config), rows_of(model.config)
        if known != own:
            raise PartError(f"learnable: the scorer predicts {known} tokens and the student {own}; train both with the same tokenizer")
        with torch.no_grad():
            seen = context.objective.loss(scorer, batch)
            logits = logits_of_targets(scorer, batch, seen.counts, seen.outputs.logits)
            label = logits.gather(1, batch["labels"][seen.counts][:, None])
            hopeful = (logits > label).sum(dim=1) < self.top
            if context.progress.step == 0 and len(hopeful) and (share := float(hopeful.float().mean())) < ENOUGH:
                raise PartError(
                    f"learnable: only {share:.0%} of the labels are among the scorer's {self.top} likeliest tokens, so that nearly every "
                    "sequence scores 0 and nothing would be chosen; raise top, or train the scorer for longer"
                )
            # Not a number is what the median passes over.
            values = torch.full_like(seen.values, torch.nan, dtype=torch.float32)
            values[seen.counts] = torch.where(hopeful, seen.values[seen.counts].float(), 0.0)
            return values.nanquantile(0.5, dim=1)
