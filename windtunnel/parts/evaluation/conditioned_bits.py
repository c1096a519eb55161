"""Bits per byte of text whose metadata is shown."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from windtunnel.core.errors import PartError
from windtunnel.core.trial import Trial
from windtunnel.parts.objective.conditioned import Conditioned
from windtunnel.parts.objective.next_token import NextToken
from windtunnel.slots import Evaluation, HeldOut, Objective

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class ConditionedBits(Evaluation, name="conditioned-bits"):
    """Held-out loss in bits per byte with each document's metadata before it, overall and by source: is it of use to the model?

    Gao et al. 2025 (MeCo), arXiv:2501.01956, call it conditional inference. What no longer fits into a window behind the metadata is not
    measured, so it is not quite the text that `bits-per-byte` reads; compare models with each other.
    """

    trial = Trial(beside=Conditioned.trial.beside)

    unit: ClassVar[str] = "bits per byte"
    better: ClassVar[str] = "lower"
    number: ClassVar[str] = "conditioned_bits"
    shares: ClassVar[bool] = True

    objective: Objective = Field(Conditioned(), description="how the metadata is shown")

    def evaluate(self, model: PreTrainedModel, held_out: HeldOut) -> dict[str, float]:
        """``conditioned_bits``, then each source as ``conditioned_bits/<source>``.

        Raises:
            PartError: where documents are no text or were encoded without metadata, and for models that do not write from left to right.
        """
        from windtunnel.kits.text.encoded import vocabulary_of
        from windtunnel.kits.text.losses import text_loss

        vocabulary_of(held_out, self.name)
        missing = [field for field in self.objective.fields if field not in held_out.stream.fields]
        if missing:
            raise PartError(
                f"{self.name}: documents have no {missing[0]}; name it in the encoding, as in tokenizer: {{metadata: '{{origin}}'}}"
            )
        if model.config.is_encoder_decoder or not isinstance(held_out.objective.measured_by(), NextToken):
            raise PartError(f"{self.name}: needs a decoder that can be scored on next tokens")
        sums = {source: text_loss(model, held_out, source, self.objective) for source in held_out.sources}
        total = sum(nats for nats, _, _ in sums.values()) / max(1, sum(amount for _, _, amount in sums.values()))
        each = {f"conditioned_bits/{source}": nats / amount / math.log(2) for source, (nats, _, amount) in sums.items() if amount}
        return {"conditioned_bits": total / math.log(2), **each}
