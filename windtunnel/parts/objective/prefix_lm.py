"""Prefix language modelling."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, model_validator

from windtunnel.kits.text.predict import MODE_SLOTS, loss_of_arranged
from windtunnel.kits.text.vocabulary import Vocabulary
from windtunnel.parts.objective.next_token import NextToken
from windtunnel.slots import Loss, Objective

if TYPE_CHECKING:
    import numpy as np
    import torch
    from transformers import PreTrainedModel


class PrefixLM(Objective, name="prefix-lm"):
    """Continue a document from a pivot: its beginning is read in both directions, the rest is predicted from left to right.

    Raffel et al. 2019, arXiv:1910.10683 (the prefix LM); Tay et al. 2022, arXiv:2205.05131 (the S denoiser). Every document of a
    sequence has its own pivot, uniform between ``lowest`` and ``highest`` of its length; one of fewer than ``least`` tokens is left
    causal. Only what comes after the pivot is a target, so on average half of the tokens are. An encoder-decoder encodes the
    beginning and decodes the rest; as the pivot moves, both sides are as wide as the context and padded.

    On decoders held-out text is scored by its next tokens.
    """

    kinds: ClassVar[tuple[str, ...]] = ("decoder", "encoder-decoder")

    lowest: float = Field(0.0, ge=0, le=1, description="smallest share of a document that is its prefix")
    highest: float = Field(1.0, ge=0, le=1, description="largest share of a document that is its prefix")
    least: int = Field(8, ge=2, description="documents with fewer tokens in the sequence are left causal")
    bidirectional: bool = Field(True, description="whether a decoder reads the prefix in both directions (false: it stays causal)")
    mode: Literal["R", "S", "X"] | None = Field(None, description="mode token put before each document (default: none)")

    @model_validator(mode="after")
    def _ordered(self) -> PrefixLM:
        if self.lowest > self.highest:
            raise ValueError(f"lowest ({self.lowest:g}) is above highest ({self.highest:g})")
        return self

    def special(self) -> tuple[str, ...]:
        """Mode tokens, if asked to."""
        return () if self.mode is None else ("modes",)

    def prepare(self, rows: dict[str, np.ndarray], vocabulary: Vocabulary, random: np.random.Generator) -> dict[str, np.ndarray]:
        """What :func:`windtunnel.kits.text.corrupt.arrange` returns, [sequences, context], 16 columns more with a mode."""
        import numpy as np

        from windtunnel.kits.text.corrupt import arrange, suffix_noise

        tokens, documents = rows["tokens"], rows["documents"]
        count, length = tokens.shape
        noise = suffix_noise(documents, self.lowest, self.highest, self.least, random)
        return arrange(
            tokens,
            documents,
            noise,
            sentinels=np.zeros(count, bool),
            leads=np.full(count, -1 if self.mode is None else vocabulary.modes[self.mode]),
            width=length - 1 + (0 if self.mode is None else MODE_SLOTS),
            vocabulary=vocabulary,
            slots=MODE_SLOTS,
        )

    def loss(self, model: PreTrainedModel, batch: dict[str, torch.Tensor], needs: frozenset[str] = frozenset()) -> Loss:
        """Cross entropy of the tokens after the pivot, in nats."""
        return loss_of_arranged(model, batch, self.bidirectional, needs)

    def measured_by(self) -> Objective:
        """Next-token prediction, with the same mode token."""
        return NextToken(mode=self.mode)
