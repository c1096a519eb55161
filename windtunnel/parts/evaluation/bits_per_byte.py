"""Bits per byte, the primary metric."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

from windtunnel.core.errors import PartError
from windtunnel.parts.objective.next_token import NextToken
from windtunnel.parts.objective.prefix_lm import PrefixLM
from windtunnel.slots import ByDocument, Evaluation, HeldOut, Numbers, Objective

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class BitsPerByte(Evaluation, name="bits-per-byte"):
    """Held-out loss in bits over the UTF-8 bytes of the tokens it was measured on, so that tokenisers can be compared.

    Overall: all bits over all bytes that were read, so a source counts by the bytes read of it (sources that are read up to the
    same limit of tokens count about equally). Then each source as ``bits_per_byte/<source>``. Separators are not text and do not
    count. What is predicted depends on the objective the model was trained with:

    - decoders: each next token given all before it in its window and document, a true likelihood of the text (behind the mode token
      S for ul2 with mode tokens);
    - encoder-decoders: the second half of each document's piece in a window given the first half, a conditional likelihood. It is
      not comparable with that of decoders;
    - masked-token: the masked tokens at fixed random masks, named ``masked_bits_per_byte`` because it is no likelihood of a text.
    """

    unit: ClassVar[str] = "bits per byte"
    better: ClassVar[str] = "lower"
    shares: ClassVar[bool] = True

    def first(self, objective: Objective) -> str:
        """As the objective names it that scores held-out text."""
        return str(getattr(objective.measured_by(), "measure", "bits_per_byte"))

    def evaluate(self, model: PreTrainedModel, held_out: HeldOut) -> Numbers:
        """The metric overall, then by source; on test with the bits and bytes of each document.

        Raises:
            PartError: where documents are no text, and where no target of the held-out text stands for any byte.
        """
        from windtunnel.kits.text.encoded import vocabulary_of
        from windtunnel.kits.text.losses import document_losses, text_loss

        vocabulary_of(held_out, self.name)
        objective = judge(model, held_out.objective)
        name = self.first(objective)
        sums, documents = {}, []
        for source in held_out.sources:
            if held_out.split == "test":
                sums[source], found = document_losses(model, held_out, source, objective)
                documents += [found] if found is not None else []
            else:
                sums[source] = text_loss(model, held_out, source, objective)
        sums = {source: (nats, targets, amount) for source, (nats, targets, amount) in sums.items() if amount}
        if not sums:
            raise PartError("bits-per-byte: the held-out text that was read holds no target that stands for text; read more of it")
        overall = sum(nats for nats, _, _ in sums.values()) / sum(amount for _, _, amount in sums.values())
        each = {f"{name}/{source}": nats / amount / math.log(2) for source, (nats, _, amount) in sums.items()}
        by_document = ByDocument.together(documents) if documents else None
        return Numbers({name: overall / math.log(2), **each}, by_document)


def judge(model: PreTrainedModel, objective: Objective) -> Objective:
    """The objective that scores held-out text for ``model``, which was trained with ``objective``."""
    scored = objective.measured_by()
    if model.config.is_encoder_decoder and isinstance(scored, NextToken):
        return PrefixLM(lowest=0.5, highest=0.5, mode=scored.mode)
    return scored
