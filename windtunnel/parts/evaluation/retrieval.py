"""How well a model finds the passage that a query was taken out of."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from windtunnel.core.errors import PartError
from windtunnel.core.trial import Trial
from windtunnel.parts.objective.inverse_cloze import SIDES, InverseCloze
from windtunnel.slots import Evaluation, HeldOut, Objective

if TYPE_CHECKING:
    import numpy as np
    from transformers import PreTrainedModel

WORD = re.compile(r"\w+")


class Retrieval(Evaluation, name="retrieval"):
    """The mean reciprocal rank, among ten, of the passage that each held-out query was taken out of, with BM25 on the same beside it.

    Of every held-out sequence the longest document makes a query and a passage, if it is long enough, cut as the ``objective``
    `inverse-cloze` says (its ``pool`` says what the vector of a text is), the same for all models of a study; all passages are searched,
    exactly. ``recall_1`` and
    ``recall_10`` are the shares whose passage is the first, or among the first ten. ``retrieval/bm25`` is the mean reciprocal rank of BM25
    over words, which knows no training: a retriever below it is of no use by itself (Thakur et al. 2021, arXiv:2104.08663).
    """

    trial = Trial({"objective": {"inverse-cloze": {"query": 0.5}}})

    unit: ClassVar[str] = "mean reciprocal rank"
    better: ClassVar[str] = "higher"
    number: ClassVar[str] = "retrieval"
    by_objective: ClassVar[bool] = False

    objective: Objective = Field(InverseCloze(kept=0.0), description="how a document is cut and what its vectors are: inverse-cloze")
    sources: tuple[str, ...] = Field((), description="the sources whose documents are searched (default: all)")

    def looks_at(self) -> tuple[str, ...]:
        """The sources whose documents are searched."""
        return self.sources

    def evaluate(self, model: PreTrainedModel, held_out: HeldOut) -> dict[str, float]:
        """``retrieval``, ``recall_1``, ``recall_10``, ``retrieval/bm25`` and ``retrieval/passages``, how many are searched.

        Raises:
            PartError: where documents are no text, for a model that is no decoder, for another objective than inverse-cloze, and where
                fewer than two sequences make a pair.
        """
        import numpy as np
        import torch

        from windtunnel.data.held_out import entered
        from windtunnel.kits.text.encoded import vocabulary_of
        from windtunnel.kits.text.search import ranks, reciprocal
        from windtunnel.models.init import family_of

        vocabulary_of(held_out, self.name)
        if family_of(model.config).kind != "decoder":
            raise PartError(f"{self.name}: needs a decoder, whose vectors inverse-cloze trains")
        pairs = self.objective
        if not isinstance(pairs, InverseCloze):
            raise PartError(f"{self.name}: objective is {pairs.name}, which makes no pairs; inverse-cloze does")
        sides: dict[str, list[np.ndarray]] = {side: [] for side in SIDES}
        words: dict[str, list[list[str]]] = {side: [] for side in SIDES}
        known = self in held_out.made
        for source in self.sources or held_out.sources:
            for batch in held_out.batches(source, pairs):
                real = batch["labels"][:, 0] != -100
                for number, side in enumerate(SIDES if real.any() else ()):
                    with torch.no_grad(), entered(held_out.precision):
                        found = pairs.vectors(model, batch[side][real], batch["lengths"][real, number])
                    sides[side].append(found.float().cpu().numpy())
                    if not known:
                        words[side] += self._words(held_out, batch[side][real])
        if (count := sum(map(len, sides["queries"]))) < 2:
            raise PartError(
                f"{self.name}: {count} held-out sequences make a pair, and it takes two to tell one from another; hold out more"
            )
        queries, passages = (np.concatenate(each) for each in sides.values())
        if not known:
            held_out.made[self] = self._bm25(words)
        places = ranks(queries, passages)
        return {
            self.name: reciprocal(places),
            "recall_1": float((places < 1).mean()),
            "recall_10": float((places < 10).mean()),
            f"{self.name}/bm25": held_out.made[self],
            f"{self.name}/passages": float(len(passages)),
        }

    def _words(self, held_out: HeldOut, tokens: Any) -> list[list[str]]:
        from windtunnel.kits.text.encoded import text_of

        tokenizer = text_of(held_out.stream, self.name).tokenizer
        return [WORD.findall(text.lower()) for text in tokenizer.batch_decode(tokens.tolist(), skip_special_tokens=True)]

    def _bm25(self, words: dict[str, list[list[str]]]) -> float:
        from windtunnel.kits.text.search import bm25_ranks, reciprocal

        return reciprocal(bm25_ranks(words["queries"], words["passages"]))
