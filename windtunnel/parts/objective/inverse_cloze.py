"""Contrastive learning of passages of text and stretches taken out of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from windtunnel.core.errors import UserError
from windtunnel.core.trial import Trial
from windtunnel.kits.text.vocabulary import Vocabulary
from windtunnel.parts.objective.next_token import NextToken
from windtunnel.slots import Loss, Objective

if TYPE_CHECKING:
    import numpy as np
    import torch
    from transformers import PreTrainedModel

LEAST = 8  # tokens of a document that makes a pair
SIDES = ("queries", "passages")


class InverseCloze(Objective, name="inverse-cloze"):
    """Find the passage that a stretch of text was taken out of, among the passages of a step: pretraining of a retriever without labels.

    Lee et al. 2019, arXiv:1906.00300 (the inverse cloze task); one decoder embeds both sides, as in Luo et al. 2024, arXiv:2408.12194, by
    the last hidden state behind the end of the text or by the mean of all. The loss is the cross entropy of a query's own passage over
    cosines divided by ``temperature``, the other passages of the step being the negatives (InfoNCE, van den Oord et al. 2018,
    arXiv:1807.03748), so it depends on ``batch``.

    A pair is made of the longest document of each sequence, so pack with `each`, or `concatenate` for pieces. ``take: beginning`` takes the
    query from the beginning, as a docstring stands before its function. One sequence is one target; held-out text is scored by its next
    tokens, which this objective does not teach; the evaluation `retrieval` says what it does teach.
    """

    trial = Trial(beside={"context": 32, "batch": 4})

    together: ClassVar[bool] = True
    gathers: ClassVar[bool] = True

    query: float = Field(0.25, gt=0, lt=1, description="share of a document's tokens that are the query")
    take: Literal["random", "beginning"] = Field("random", description="where the query is taken from")
    kept: float = Field(0.1, ge=0, le=1, description="the chance that it stays in the passage too")
    pool: Literal["last", "mean"] = Field("last", description="what of the hidden states is the vector of a text")
    temperature: float = Field(0.05, gt=0, description="what cosines are divided by")

    def special(self) -> tuple[str, ...]:
        """None."""
        return ()

    def prepare(self, rows: dict[str, np.ndarray], vocabulary: Vocabulary, random: np.random.Generator) -> dict[str, np.ndarray]:
        """``queries`` [B, Q] and ``passages`` [B, P] int64, padded at their ends; ``labels`` [B, 1], 0 where there is a pair.

        ``lengths`` [B, 2] are those of query and passage without the padding.

        Each text stands between two separators.

        Raises:
            UserError: where the context is too short for a pair.
        """
        import numpy as np

        from windtunnel.kits.text.corrupt import pieces

        count, length = rows["tokens"].shape
        if length <= LEAST:
            raise UserError(f"inverse-cloze: a context of {length - 1} tokens is too short for a pair; it takes {LEAST}")
        most = max(1, round(length * self.query))  # tokens of a query of the longest document, of which the longest rest is left
        queries = np.full((count, most + 2), vocabulary.pad)
        passages = np.full((count, (length if self.kept else length - most) + 2), vocabulary.pad)
        labels, lengths = np.full((count, 1), -100), np.zeros((count, 2), np.int64)
        places = np.asarray(random.random(count))
        kept = np.asarray(random.random(count) < self.kept)
        found = pieces(rows["documents"])
        for row in range(count):
            longest = max(np.flatnonzero(found.row == row), key=lambda piece: found.length[piece], default=None)
            if longest is None:
                continue
            begin = found.start[longest]
            text = rows["tokens"][row, begin : begin + found.length[longest]].astype(np.int64)
            text = text[(text != vocabulary.document) & (text != vocabulary.end)]
            if len(text) < LEAST:
                continue
            taken = min(max(1, round(len(text) * self.query)), len(text) - 1)
            first = 0 if self.take == "beginning" else int(places[row] * (len(text) - taken + 1))
            query = text[first : first + taken]
            passage = text if kept[row] else np.concatenate([text[:first], text[first + taken :]])
            for side, (grid, part) in enumerate(((queries, query), (passages, passage))):
                lengths[row, side] = len(part) + 2
                grid[row, : len(part) + 2] = [vocabulary.document, *part, vocabulary.document]
            labels[row] = 0
        return {"queries": queries, "passages": passages, "lengths": lengths, "labels": labels}

    def loss(self, model: PreTrainedModel, batch: dict[str, torch.Tensor], needs: frozenset[str] = frozenset()) -> Loss:
        """The cross entropy [B, 1] of each query's own passage, in nats."""
        import torch
        from torch.nn.functional import cross_entropy

        from windtunnel.kits.gather import first_row, gather

        queries, passages = (self.vectors(model, batch[name], batch["lengths"][:, side]) for side, name in enumerate(SIDES))
        real = batch["labels"][:, 0] != -100
        own = first_row(len(queries)) + torch.arange(len(queries), device=queries.device)
        scores = queries @ gather(passages).T / self.temperature
        hidden = (gather(real.float())[None] == 0) & (own[:, None] != torch.arange(scores.shape[1], device=own.device))
        values = cross_entropy(scores.masked_fill(hidden, -torch.inf), own, reduction="none")
        return Loss(values[:, None], real[:, None], None)

    def vectors(self, model: PreTrainedModel, tokens: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """A vector of length 1 of each of ``tokens`` [B, T], of which ``lengths`` [B] are no padding: float32 [B, width]."""
        from windtunnel.kits.text.search import pooled

        return pooled(model, tokens, lengths, self.pool)

    def measured_by(self) -> Objective:
        """Next-token prediction."""
        return NextToken()
