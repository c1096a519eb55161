"""How many bits of made-up facts a model has stored."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from windtunnel.core.errors import PartError
from windtunnel.core.trial import Trial
from windtunnel.parts.objective.next_token import NextToken
from windtunnel.slots import Evaluation, HeldOut

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class StoredBits(Evaluation, name="stored-bits"):
    """What a model knows of people it was trained on, in bits, from its loss on their names and on what is said of them.

    Allen-Zhu and Li 2024, "Physics of Language Models: Part 3.3", arXiv:2404.05405. A name out of ``names`` that costs the model p nats to
    write is known by log2(names) - p / ln 2 bits, and likewise the answers, given the name, out of ``answers``. The sum over all people
    that the model was trained on is ``stored_bits``. ``stored_bits/parameter`` is that over the parameters, embeddings among them, and
    ``stored_bits/block_parameter`` without them and an untied head. ``stored_bits/there`` is what the facts hold, ``stored_bits/share`` the
    part that is stored.

    Documents are those of `made-up-people` with one telling and no lead: a name, a sign, and answers. Held-out people are never asked for:
    nothing can be known of them.
    """

    trial = Trial(untried="the tiny corpus tells of nobody made up; tests/parts/evaluation/test_stored_bits.py plants what is known")

    unit: ClassVar[str] = "bits"
    better: ClassVar[str] = "higher"
    number: ClassVar[str] = "stored_bits"
    by_objective: ClassVar[bool] = False

    names: float = Field(26.0**6, gt=1, description="different names that people's were drawn from")
    answers: float = Field(26.0**6, gt=1, description="different answers that one person's were drawn from, all questions together")
    after: str = Field("=", min_length=1, description="what stands between the name and the answers")
    most: int = Field(512, ge=1, description="most people of each source that are asked for, evenly spaced")

    def evaluate(self, model: PreTrainedModel, held_out: HeldOut) -> dict[str, float]:
        """The numbers above, over all sources that the phase trains on.

        Raises:
            PartError: where documents are no text, for a model that is not scored on next tokens, where no training document has the sign
                and something on either side of it, or one is longer than the context, and where two are of the same name.
        """
        from windtunnel.kits.text.encoded import vocabulary_of
        from windtunnel.kits.text.knowledge import all_bits, stored_bits
        from windtunnel.kits.text.prepacked import ending_nats
        from windtunnel.models.anatomy import parameters_count

        facts, objective = vocabulary_of(held_out, self.name), held_out.objective.measured_by()
        if model.config.is_encoder_decoder or not isinstance(objective, NextToken):
            raise PartError(f"{self.name}: needs a decoder that is scored on next tokens, not one trained with {held_out.objective.name}")
        found = there = 0.0
        for source in held_out.sources:
            if held_out.trained_on is not None and source not in held_out.trained_on:
                continue
            if (key := (self, source)) not in held_out.made:
                held_out.made[key] = self._people(held_out, source)
            people, asked = held_out.made[key]
            rows = [([facts.document, *name, *answers], len(name) + len(answers)) for name, answers in asked]
            nats = ending_nats(model, rows, objective=objective, held_out=held_out)
            of_name = sum(one[: len(name)].sum() for one, (name, _) in zip(nats, asked, strict=True)) / len(asked)
            of_both = sum(one.sum() for one in nats) / len(asked)
            found += stored_bits(people, self.names, self.answers, float(of_name), float(of_both - of_name))
            there += all_bits(people, self.names, self.answers)
        size = parameters_count(model)
        return {
            "stored_bits": found,
            "stored_bits/parameter": found / size["total"],
            "stored_bits/block_parameter": found / size["non_embedding"],
            "stored_bits/there": there,
            "stored_bits/share": found / there,
        }

    def _people(self, held_out: HeldOut, source: str) -> tuple[int, list[tuple[list[int], list[int]]]]:
        """How many people the source was trained on, and of those that are asked for the tokens of name and sign, and of the answers."""
        import numpy as np

        from windtunnel.kits.text.encoded import cut, text_of

        encoded = text_of(held_out.stream, self.name)
        texts = [text.partition(self.after) for text in encoded.documents("train", source)]
        texts = [parts for parts in texts if all(part.strip() for part in parts)]
        if not texts:
            raise PartError(f"{self.name}: no training document of {source} has {self.after!r} behind a name and before an answer")
        if len({name for name, _, _ in texts}) < len(texts):
            raise PartError(
                f"{self.name}: two documents of {source} are of one name; each person has to be told of once, so draw longer names"
            )
        found = []
        for place in np.unique(np.linspace(0, len(texts) - 1, min(self.most, len(texts))).astype(int)):
            name, sign, answers = texts[place]
            found.append(cut(encoded.tokenizer, name + sign, answers.rstrip()))
            if 1 + len(found[-1][0]) + len(found[-1][1]) > held_out.context:
                raise PartError(f"{self.name}: {name!r} has more tokens than the context of {held_out.context}; raise context")
        return len(texts), found
