"""Next-token prediction, on some sequences behind spans that were moved to the end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field, model_validator

from windtunnel.kits.text.predict import loss_of_next
from windtunnel.kits.text.vocabulary import Vocabulary
from windtunnel.parts.objective.next_token import NextToken
from windtunnel.slots import Loss, Objective

if TYPE_CHECKING:
    import numpy as np
    import torch
    from transformers import PreTrainedModel


class CausalSpans(Objective, name="causal-spans"):
    """Learn to continue and to fill gaps with one causal decoder: some sequences are read as they are, the others with spans at their end.

    Nijkamp et al. 2023 (CodeGen2), arXiv:2305.02309. Of a sequence that is rewritten, each document has random spans replaced by sentinels
    and repeats each sentinel behind its end, followed by what it hid; a last sentinel closes. Attention stays causal, and every token
    of what is read is predicted, not only those of the spans (``context: false`` predicts these alone). Spans lie within a document.

    The sentinels take room, so a rewritten sequence holds less text than a plain one. ``lowest`` and ``highest`` bound the share of its
    tokens that is hidden, drawn for every sequence. Held-out text is scored by its next tokens.
    """

    share: float = Field(0.5, gt=0, le=1, description="share of sequences that are rewritten")
    lowest: float = Field(0.15, gt=0, lt=1, description="smallest share of a rewritten sequence's tokens that is hidden")
    highest: float = Field(0.15, gt=0, lt=1, description="largest share of them")
    mean_span: float = Field(3.0, ge=1, description="mean tokens of a span")
    context: bool = Field(True, description="whether what surrounds the spans is predicted too")

    @model_validator(mode="after")
    def _ordered(self) -> CausalSpans:
        if self.lowest > self.highest:
            raise ValueError(f"lowest ({self.lowest:g}) is above highest ({self.highest:g})")
        return self

    def special(self) -> tuple[str, ...]:
        """Sentinels."""
        return ("spans",)

    def prepare(self, rows: dict[str, np.ndarray], vocabulary: Vocabulary, random: np.random.Generator) -> dict[str, np.ndarray]:
        """``tokens``, ``documents``, ``positions``, ``labels``, each int64 [sequences, context].

        Raises:
            UserError: where the tokenizer has too few sentinels, or the context is too short.
        """
        import numpy as np

        from windtunnel.kits.text.corrupt import arrange, need_sentinels, raw_length, span_noise, suffix_noise, window

        count, width = rows["tokens"].shape[0], rows["tokens"].shape[1] - 1
        length, _, spans = raw_length(width, self.highest, self.mean_span)
        need_sentinels(spans, vocabulary, width)
        moved = np.asarray(random.random(count) < self.share)
        rates = np.asarray(random.uniform(self.lowest, self.highest, count))
        documents = np.where(moved[:, None], window(rows["documents"], np.full(count, length), random), rows["documents"])
        hidden = span_noise(documents, rates, np.full(count, self.mean_span), random)
        batch = arrange(
            rows["tokens"],
            documents,
            np.where(moved[:, None], hidden, suffix_noise(documents, 0.0, 0.0, 0, random)),
            sentinels=moved,
            leads=np.full(count, -1),
            width=width,
            vocabulary=vocabulary,
        )
        if self.context:
            tokens, inner = batch["tokens"], batch["documents"]
            known = batch["prefix"][:, 1:] & (inner[:, 1:] == inner[:, :-1])
            batch["labels"][:, :-1] = np.where(known, tokens[:, 1:], batch["labels"][:, :-1])
        return {name: batch[name] for name in ("tokens", "documents", "positions", "labels")}

    def loss(self, model: PreTrainedModel, batch: dict[str, torch.Tensor], needs: frozenset[str] = frozenset()) -> Loss:
        """Cross entropy of what is predicted, in nats."""
        return loss_of_next(model, batch, needs)

    def measured_by(self) -> NextToken:
        """Next-token prediction."""
        return NextToken()
