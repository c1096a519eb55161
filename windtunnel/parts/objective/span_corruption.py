"""Span corruption."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.kits.text.predict import loss_of_arranged
from windtunnel.kits.text.vocabulary import Vocabulary
from windtunnel.parts.objective.next_token import NextToken
from windtunnel.slots import Loss, Objective

if TYPE_CHECKING:
    import numpy as np
    import torch
    from transformers import PreTrainedModel


class SpanCorruption(Objective, name="span-corruption"):
    """Replace random spans by sentinels and predict what they hid, each behind its sentinel, with a closing sentinel at the end.

    Raffel et al. 2019, arXiv:1910.10683. An encoder-decoder encodes the corrupted text and decodes the spans. A decoder reads the
    corrupted text in both directions and then predicts the spans from left to right, the first of them at the last token of its
    input (Tay et al. 2022, arXiv:2205.05131).

    Input and targets together fill the context on both architectures, so that they see the same corruptions: at a context of 128
    the defaults corrupt a random stretch of about 115 tokens of each row; the other tokens of the row are not read (where T5
    reads more raw text to fill its encoder). Every document of a sequence is corrupted by itself, with its own sentinels.

    On decoders held-out text is scored by its next tokens, which this objective alone does not teach well.
    """

    trial = Trial(model={"family": "t5"})

    kinds: ClassVar[tuple[str, ...]] = ("encoder-decoder", "decoder")

    rate: float = Field(0.15, gt=0, lt=1, description="share of tokens that is hidden")
    mean_span: float = Field(3.0, ge=1, description="mean tokens of a span")
    bidirectional: bool = Field(True, description="whether a decoder reads its input in both directions (false: it stays causal)")
    mode: Literal["R", "S", "X"] | None = Field(None, description="mode token put before each document (default: none)")

    def special(self) -> tuple[str, ...]:
        """Sentinels, and mode tokens if asked to."""
        return ("spans",) if self.mode is None else ("spans", "modes")

    def prepare(self, rows: dict[str, np.ndarray], vocabulary: Vocabulary, random: np.random.Generator) -> dict[str, np.ndarray]:
        """What :func:`windtunnel.kits.text.corrupt.arrange` returns, [sequences, context].

        Raises:
            UserError: where the tokenizer has too few sentinels, or the context is too short.
        """
        import numpy as np

        from windtunnel.kits.text.corrupt import arrange, need_sentinels, raw_length, span_noise, window

        count, context = rows["tokens"].shape[0], rows["tokens"].shape[1] - 1
        length, noise, spans = raw_length(context, self.rate, self.mean_span)
        need_sentinels(spans, vocabulary, context)
        documents = window(rows["documents"], np.full(count, length), random)
        slack = context // 8  # several documents need several closing sentinels, and their counts do not come out exactly
        return arrange(
            rows["tokens"],
            documents,
            span_noise(documents, np.full(count, self.rate), np.full(count, self.mean_span), random),
            sentinels=np.ones(count, bool),
            leads=np.full(count, -1 if self.mode is None else vocabulary.modes[self.mode]),
            width=context,
            vocabulary=vocabulary,
            reserve=True,
            inputs=min(context, length - noise + spans + 1 + slack),
            targets=min(context, noise + spans + 1 + slack),
        )

    def loss(self, model: PreTrainedModel, batch: dict[str, torch.Tensor], needs: frozenset[str] = frozenset()) -> Loss:
        """Cross entropy of sentinels and hidden tokens, in nats."""
        return loss_of_arranged(model, batch, self.bidirectional, needs)

    def measured_by(self) -> Objective:
        """Next-token prediction, with the same mode token."""
        return NextToken(mode=self.mode)
