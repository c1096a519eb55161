"""UL2's mixture of denoisers."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, model_validator

from windtunnel.core.settings import Settings
from windtunnel.kits.text.predict import loss_of_arranged
from windtunnel.kits.text.vocabulary import Vocabulary
from windtunnel.parts.objective.next_token import NextToken
from windtunnel.slots import Loss, Objective

if TYPE_CHECKING:
    import numpy as np
    import torch
    from transformers import PreTrainedModel

PAPER_CONTEXT = 512  # tokens that UL2's sequences hold
LONG_SPAN = 12  # from this mean length on UL2 calls a span long


class Denoiser(Settings):
    """One denoiser: hides spans of ``mean_span`` tokens at ``rate``, or with neither is a prefix LM with a uniform pivot."""

    mode: Literal["R", "S", "X"] = Field(description="whose mode token comes first: regular, sequential or extreme")
    mean_span: float | None = Field(None, ge=1, description="mean tokens of a span (null: prefix LM)")
    rate: float | None = Field(None, gt=0, lt=1, description="share of tokens hidden (null: for a prefix LM, a uniform pivot)")
    weight: float = Field(1.0, ge=0, description="how often it is drawn, relative to the others")

    @model_validator(mode="after")
    def _complete(self) -> Denoiser:
        if self.mean_span is not None and self.rate is None:
            raise ValueError("a denoiser of spans needs a rate beside its mean_span")
        return self


SEVEN = (
    Denoiser(mode="R", mean_span=3, rate=0.15),
    Denoiser(mode="R", mean_span=8, rate=0.15),
    Denoiser(mode="S"),
    Denoiser(mode="X", mean_span=3, rate=0.5),
    Denoiser(mode="X", mean_span=8, rate=0.5),
    Denoiser(mode="X", mean_span=64, rate=0.15),
    Denoiser(mode="X", mean_span=64, rate=0.5),
)


class UL2(Objective, name="ul2"):
    """Draw a denoiser for every sequence, and say which by a mode token before every document of it.

    Tay et al. 2022, arXiv:2205.05131. The defaults are the paper's seven denoisers, equally likely, with two stated choices. The
    paper's S denoiser hides a quarter of the text; ours is a prefix LM with a uniform pivot (write ``rate: 0.25`` for a fixed one),
    so that every position is trained to continue. The paper trains at 512 tokens; at shorter contexts spans of 64 would be one or
    none, so mean spans above 12 (which the paper calls long) shrink with the context, to no less than 12.

    All denoisers have one shape: input and targets together fill the context of a decoder; encoder and decoder of an
    encoder-decoder are each as wide as the context, as in the paper, and padded. Denoisers differ in how many targets a sequence
    has, so equal input tokens are not equal targets.

    On decoders held-out text is scored by its next tokens behind the mode token S, a true likelihood in the model's own format.
    """

    kinds: ClassVar[tuple[str, ...]] = ("decoder", "encoder-decoder")

    denoisers: tuple[Denoiser, ...] = Field(SEVEN, min_length=1, description="what is drawn from: mode, mean_span, rate and weight of each")
    mode_tokens: bool = Field(True, description="whether mode tokens are put before documents")
    scale_spans: bool = Field(True, description="whether mean spans above 12 shrink with contexts below 512")
    bidirectional: bool = Field(True, description="whether a decoder reads its input in both directions (false: it stays causal)")

    @model_validator(mode="after")
    def _some_weight(self) -> UL2:
        if not sum(denoiser.weight for denoiser in self.denoisers):
            raise ValueError("the weights of the denoisers are all zero")
        return self

    def mean_span(self, denoiser: Denoiser, context: int) -> float:
        """The mean span of ``denoiser`` at ``context`` tokens (1 for a prefix LM, which has none)."""
        mean = denoiser.mean_span or 1.0
        return min(mean, max(LONG_SPAN, mean * context / PAPER_CONTEXT)) if self.scale_spans else mean

    def special(self) -> tuple[str, ...]:
        """Sentinels, and mode tokens unless it goes without."""
        return ("spans", "modes") if self.mode_tokens else ("spans",)

    def prepare(self, rows: dict[str, np.ndarray], vocabulary: Vocabulary, random: np.random.Generator) -> dict[str, np.ndarray]:
        """What :func:`windtunnel.kits.text.corrupt.arrange` returns, [sequences, context].

        Raises:
            UserError: where the tokenizer has too few sentinels, or the context is too short.
        """
        import numpy as np

        from windtunnel.kits.text.corrupt import arrange, need_sentinels, raw_length, span_noise, suffix_noise, window

        count, context = rows["tokens"].shape[0], rows["tokens"].shape[1] - 1
        weights = np.array([denoiser.weight for denoiser in self.denoisers])
        drawn = random.choice(len(self.denoisers), size=count, p=weights / weights.sum())
        documents, noise = rows["documents"].copy(), np.zeros(rows["tokens"].shape, bool)
        for index, denoiser in enumerate(self.denoisers):
            mean = self.mean_span(denoiser, context)
            which = drawn == index
            if denoiser.mean_span is None:
                lowest, highest = (0.0, 1.0) if denoiser.rate is None else (1 - denoiser.rate, 1 - denoiser.rate)
                noise[which] = suffix_noise(documents[which], lowest, highest, 8, random)
                continue
            length, _, spans = raw_length(context, denoiser.rate or 0.0, mean)
            need_sentinels(spans, vocabulary, context)
            amount = np.count_nonzero(which)
            documents[which] = window(documents[which], np.full(amount, length), random)
            noise[which] = span_noise(documents[which], np.full(amount, denoiser.rate), np.full(amount, mean), random)
        modes = np.array([vocabulary.modes[denoiser.mode] if self.mode_tokens else -1 for denoiser in self.denoisers])
        hidden = np.array([denoiser.mean_span is not None for denoiser in self.denoisers])
        return arrange(
            rows["tokens"],
            documents,
            noise,
            sentinels=hidden[drawn],
            leads=modes[drawn],
            width=context,
            vocabulary=vocabulary,
            reserve=True,
        )

    def loss(self, model: PreTrainedModel, batch: dict[str, torch.Tensor], needs: frozenset[str] = frozenset()) -> Loss:
        """Cross entropy of sentinels, hidden and continued tokens, in nats."""
        return loss_of_arranged(model, batch, self.bidirectional, needs)

    def measured_by(self) -> Objective:
        """Next-token prediction behind the mode token S (without mode tokens: plain)."""
        return NextToken(mode="S" if self.mode_tokens else None)
