"""Next-token prediction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from windtunnel.kits.text.predict import MODE_SLOTS, loss_of_next
from windtunnel.kits.text.vocabulary import Vocabulary
from windtunnel.slots import Loss, Objective

if TYPE_CHECKING:
    import numpy as np
    import torch
    from transformers import PreTrainedModel


class NextToken(Objective, name="next-token"):
    """Predict every token from those before it in its document.

    After a document's last token the separator is predicted. With ``mode``, each document of a sequence is led by that mode token,
    at position 0 like the token after it; the targets stay the same and the sequence grows by 16 columns (a seventeenth document of
    one sequence has no mode token). That is how a model trained with mode tokens is asked for the likelihood of plain text.
    """

    mode: Literal["R", "S", "X"] | None = Field(None, description="mode token put before each document (default: none)")

    def special(self) -> tuple[str, ...]:
        """Mode tokens, if asked to."""
        return () if self.mode is None else ("modes",)

    def prepare(self, rows: dict[str, np.ndarray], vocabulary: Vocabulary, random: np.random.Generator) -> dict[str, np.ndarray]:
        """``tokens``, ``documents``, ``positions``, ``labels``, each int64 [sequences, context], 16 columns more with a mode.

        Where every sequence is one document and full, ``documents`` and ``positions`` are left out: causal attention needs no mask then,
        and without one it is faster.
        """
        import numpy as np

        from windtunnel.kits.text.corrupt import arrange, suffix_noise

        tokens, documents = rows["tokens"], rows["documents"]
        if self.mode is not None:
            count, length = tokens.shape
            noise = suffix_noise(documents, 0.0, 0.0, 0, random)
            leads = np.full(count, vocabulary.modes[self.mode])
            plain = np.zeros(count, bool)
            width = length - 1 + MODE_SLOTS
            batch = arrange(tokens, documents, noise, sentinels=plain, leads=leads, width=width, vocabulary=vocabulary, slots=MODE_SLOTS)
            return {key: batch[key] for key in ("tokens", "documents", "positions", "labels")}
        # Packing may put the middle of a document behind another one; its first token is no one's continuation.
        follows = documents[:, 1:] == documents[:, :-1]
        if vocabulary.end is None:  # else a document has its end within, and what begins the next one follows from nothing
            follows |= tokens[:, 1:] == vocabulary.document
        known = (documents[:, 1:] >= 0) & (documents[:, :-1] >= 0) & follows
        labels = np.where(known, tokens[:, 1:], -100)
        inputs = {"tokens": tokens}
        if documents[:, :-1].any():
            inputs |= {"documents": documents, "positions": rows["positions"]}
        return {**{key: value[:, :-1].astype(np.int64) for key, value in inputs.items()}, "labels": labels.astype(np.int64)}

    def whole(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """``batch`` with ``documents`` and ``positions``, also where every sequence is one document."""
        import numpy as np

        if "documents" in batch:
            return batch
        tokens = batch["tokens"]
        return {**batch, "documents": np.zeros_like(tokens), "positions": np.tile(np.arange(tokens.shape[1]), (len(tokens), 1))}

    def loss(self, model: PreTrainedModel, batch: dict[str, torch.Tensor], needs: frozenset[str] = frozenset()) -> Loss:
        """Cross entropy of every next token, in nats."""
        return loss_of_next(model, batch, needs)
