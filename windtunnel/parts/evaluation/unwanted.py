"""How often a model writes what it should not."""

from __future__ import annotations

import re
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from windtunnel.core.errors import PartError
from windtunnel.core.trial import Trial
from windtunnel.parts.objective.next_token import NextToken
from windtunnel.slots import Evaluation, HeldOut

if TYPE_CHECKING:
    from transformers import PreTrainedModel

ROWS = 256  # texts that are written side by side


class Unwanted(Evaluation, name="unwanted"):
    """The share of texts a model writes in which a pattern is found: of its own accord, and behind beginnings that lead there.

    ``unwanted`` is of texts from nothing. ``unwanted/prompted`` is of what follows beginnings of held-out documents that have the pattern
    themselves, cut before the first place where it is found, in turn from each source. ``shown`` stands before every text, as metadata
    does in training with `conditioned`; and ``unwanted/held_out`` is the share of held-out documents that have the pattern.

    Texts are drawn at temperature 1 by fixed seeds, on all held-out sources together. Korbak et al. 2023, arXiv:2302.08582, who draw
    beginnings from other models as well, and report the mean score of what is written.
    """

    trial = Trial({"pattern": "[aeiou]", "texts": 8, "tokens": 8})

    unit: ClassVar[str] = "share of texts"
    better: ClassVar[str] = "lower"
    number: ClassVar[str] = "unwanted"
    by_objective: ClassVar[bool] = False

    pattern: str = Field(min_length=1, description="a regular expression of what should not be written", examples=["(?i)damn"])
    shown: str = Field("", description="what stands before every text, such as good (default: nothing)", examples=["good"])
    texts: int = Field(256, ge=1, description="texts of each kind")
    tokens: int = Field(32, ge=1, description="most tokens of a text")

    def evaluate(self, model: PreTrainedModel, held_out: HeldOut) -> dict[str, float]:
        """``unwanted``, ``unwanted/prompted`` where held-out documents have the pattern, and ``unwanted/held_out``.

        Raises:
            PartError: where documents are no text, for a model that does not write from left to right, and where a text from nothing
                is longer than its context.
        """
        from windtunnel.kits.text.encoded import text_of, vocabulary_of

        facts = vocabulary_of(held_out, self.name)
        if model.config.is_encoder_decoder or not isinstance(held_out.objective.measured_by(), NextToken):
            raise PartError(f"{self.name}: needs a decoder that is scored on next tokens, not one trained with {held_out.objective.name}")
        encoded = text_of(held_out.stream, self.name)
        lead = [facts.document, *encoded.tokenizer(self.shown, add_special_tokens=False)["input_ids"]]
        room = held_out.context - len(lead) - self.tokens
        if room < 0:
            raise PartError(
                f"{self.name}: tokens {self.tokens} behind {len(lead)} of its own exceeds the context of {held_out.context}; lower tokens"
            )
        if (key := (self, "beginnings")) not in held_out.made:
            held_out.made[key] = self._beginnings(held_out, encoded, room)
        beginnings, share = held_out.made[key]
        found = {"unwanted": self._share(model, encoded.tokenizer, [lead] * self.texts, held_out)}
        if beginnings:
            led = [[*lead, *encoded.tokenizer(text, add_special_tokens=False)["input_ids"]] for text in beginnings]
            found["unwanted/prompted"] = self._share(model, encoded.tokenizer, led, held_out)
        return {**found, "unwanted/held_out": share}

    def _beginnings(self, held_out: HeldOut, encoded: Any, room: int) -> tuple[list[str], float]:
        """Beginnings of at most ``room`` tokens of documents that have the pattern, up to it, and the share of documents that have it."""
        found, documents, having = list[list[str]](), 0, 0
        for source in held_out.sources:
            own: list[str] = []
            for text in encoded.documents(held_out.split, source):
                match = re.search(self.pattern, text)
                documents, having = documents + 1, having + bool(match)
                before = text[: match.start()].rstrip() if match and len(own) < self.texts else ""
                if before and len(encoded.tokenizer(before, add_special_tokens=False)["input_ids"]) <= room:
                    own.append(before)
            found.append(own)
        in_turn = [text for texts in zip_longest(*found) for text in texts if text is not None]
        return in_turn[: self.texts], having / max(1, documents)

    def _share(self, model: PreTrainedModel, tokenizer: Any, led: list[list[int]], held_out: HeldOut) -> float:
        """The share of texts behind ``led`` in which the pattern is found."""
        from windtunnel.data.held_out import entered
        from windtunnel.kits.text.generate import generated

        texts: list[str] = []
        for first in range(0, len(led), ROWS):
            some = led[first : first + ROWS]
            with entered(held_out.precision):
                texts += generated(model, tokenizer, some, [self.tokens] * len(some), temperature=1.0, seed=first)[0]
        return sum(bool(re.search(self.pattern, text)) for text in texts) / len(texts)
