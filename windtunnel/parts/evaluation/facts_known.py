"""What a model knows of the facts that it was told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from windtunnel.core.errors import PartError, nearest
from windtunnel.core.trial import Trial
from windtunnel.kits.text.invented import PEOPLE, Fact, facts, person
from windtunnel.parts.objective.next_token import NextToken
from windtunnel.slots import Evaluation, HeldOut

if TYPE_CHECKING:
    from transformers import PreTrainedModel

WAYS = {"": None, "/verbatim": 0}  # of asking, and the wording that each takes


class FactsKnown(Evaluation, name="facts-known"):
    """By how many nats the end of a fact is likelier of the one it was told of than of somebody else, in a source `invented-facts`.

    ``facts-known`` asks in words that are never told, ``facts-known/verbatim`` in those in which every fact is told first: the semantic and
    the memorisation probes of Chang et al. 2024, arXiv:2406.11813. They take the log-probability of the end itself, which also rises as a
    model learns which words there are; with a stranger's name the same question has the same end and nothing to know. So both are 0 before
    anything is told. ``facts-known/right`` is the share of facts whose end is the likeliest of the ten of its kind, in words never told.

    Facts of which no document was trained on, because all were held out, are not asked for.
    """

    trial = Trial(
        {"source": "facts", "facts": 8},
        beside={"corpus": {"facts": {"invented-facts": {"facts": 8, "wordings": 6}}}, "context": 64},
    )

    unit: ClassVar[str] = "nats a fact"
    better: ClassVar[str] = "higher"
    number: ClassVar[str] = "facts-known"

    source: str = Field(description="the source that tells the facts", examples=["facts"])
    facts: int = Field(40, ge=1, le=PEOPLE // 2, description="`facts` of that source")
    world: int = Field(0, ge=0, description="`world` of that source")

    def evaluate(self, model: PreTrainedModel, held_out: HeldOut) -> dict[str, float]:
        """The three numbers.

        Raises:
            PartError: where documents are no text, for a model that is not scored on next tokens, a source that is none, one that tells
                none of the facts, and a question that is longer than the context.
        """
        from windtunnel.kits.text.encoded import vocabulary_of
        from windtunnel.kits.text.prepacked import ending_nats

        vocabulary_of(held_out, self.name)
        objective = held_out.objective.measured_by()
        if model.config.is_encoder_decoder or not isinstance(objective, NextToken):
            raise PartError(f"{self.name}: needs a decoder that is scored on next tokens, not one trained with {held_out.objective.name}")
        if self not in held_out.made:
            held_out.made[self] = self._questions(held_out)
        rows, told = held_out.made[self]
        nats = iter([float(each.sum()) for each in ending_nats(model, rows, objective=objective, held_out=held_out)])
        found = {}
        for way in WAYS:
            gains = []
            for _ in told:
                own, strangers = next(nats), next(nats)
                gains.append(strangers - own)
            found[self.name + way] = sum(gains) / len(gains)
        right = 0
        for fact in told:
            ends = [next(nats) for _ in fact.relation.values]
            right += fact.relation.values[ends.index(min(ends))] == fact.value
        return {**found, f"{self.name}/right": right / len(told)}

    def _questions(self, held_out: HeldOut) -> tuple[list[tuple[list[int], int]], list[Fact]]:
        """Rows for :func:`ending_nats` in the order in which they are read above, and the facts that were told."""
        from windtunnel.kits.text.encoded import text_of
        from windtunnel.kits.text.questions import paired

        encoded, stream = text_of(held_out.stream, self.name), held_out.stream
        if self.source not in stream.sources:
            raise PartError(f"{self.name}.source: no source is called {self.source!r}; {nearest(self.source, stream.sources)}")
        said = "\n".join(encoded.documents("train", self.source))
        told = [fact for fact in facts(self.facts, self.world) if fact.who in said]
        if not told:
            raise PartError(f"{self.name}: source {self.source!r} tells none of the facts; give the knobs of its `invented-facts`")

        def row(question: str, value: str) -> tuple[list[int], int]:
            asked, end = paired(encoded.tokenizer, question, f" {value}")
            if 1 + len(asked) + len(end) > held_out.context:
                raise PartError(f"{self.name}: {question + ' ' + value!r} is longer than the context of {held_out.context} tokens")
            return [held_out.facts.document, *asked, *end], len(end)

        rows: list[Any] = []
        for wording in WAYS.values():
            for number, fact in enumerate(told):
                stranger = person(self.world, self.facts + number)
                rows += [row(fact.question(wording, who), fact.value) for who in (fact.who, stranger)]
        rows += [row(fact.question(None), value) for fact in told for value in fact.relation.values]
        return rows, told
