"""How often a model writes the answer of a problem, to the last character."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from windtunnel.core.errors import PartError
from windtunnel.core.trial import Trial
from windtunnel.parts.objective.next_token import NextToken
from windtunnel.slots import Evaluation, HeldOut

if TYPE_CHECKING:
    from transformers import PreTrainedModel

ROWS = 64  # problems in one forward pass


class ExactMatch(Evaluation, name="exact-match"):
    """The share of held-out documents whose end, behind a sign such as ``=``, a model would write as it is, by its likeliest tokens.

    For sums and other problems with one answer (Lee et al. 2024, arXiv:2307.03381). The whole of what follows the sign has to be right,
    the steps that lead to a result among it, and the document has to end behind it: ``123`` is wrong where ``12`` is right. With
    ``ends: false`` it need not, for models that never see what follows a document, as with the packing ``each``. Where the tokenizer joins
    the sign and the answer, the joint token is the model's to write. ``exact_match`` is the mean over sources, then each as
    ``exact_match/<source>``; ``exact_match/left_out`` says how many documents have the sign and nothing behind it, if any do.
    """

    trial = Trial({"after": "e", "questions": 8})

    unit: ClassVar[str] = "share right"
    better: ClassVar[str] = "higher"
    number: ClassVar[str] = "exact_match"

    after: str = Field("=", min_length=1, description="what stands before the answer; its first occurrence in a document counts")
    sources: tuple[str, ...] = Field((), description="the sources whose documents are problems (default: all)")
    questions: int = Field(256, ge=1, description="most problems of each source")
    ends: bool = Field(True, description="whether an answer that goes on is wrong; packing `each` teaches no model to stop")

    def looks_at(self) -> tuple[str, ...]:
        """The sources whose documents are problems."""
        return self.sources

    def evaluate(self, model: PreTrainedModel, held_out: HeldOut) -> dict[str, float]:
        """The share over all sources, then of each.

        Raises:
            PartError: where documents are no text, for a model that is not scored on next tokens, and where no document that fits into
                the context has the sign.
        """
        from windtunnel.kits.text.encoded import vocabulary_of

        vocabulary_of(held_out, self.name)
        if model.config.is_encoder_decoder or not isinstance(held_out.objective.measured_by(), NextToken):
            raise PartError(
                f"{self.name}: needs a decoder that can be scored on next tokens, not one trained with {held_out.objective.name}"
            )
        found: dict[str, float] = {}
        empty = 0
        for source in self.sources or held_out.sources:
            if (key := (self, source)) not in held_out.made:
                held_out.made[key] = self._problems(held_out, source)
            problems, left_out = held_out.made[key]
            empty += left_out
            if problems:
                found[source] = sum(self._right(model, held_out, problems[n : n + ROWS]) for n in range(0, len(problems), ROWS))
                found[source] /= len(problems)
        if not found:
            raise PartError(
                f"{self.name}: no held-out document of at most {held_out.context} tokens has {self.after!r} and something behind it"
            )
        numbers = {"exact_match": sum(found.values()) / len(found), **{f"exact_match/{source}": share for source, share in found.items()}}
        return numbers | ({"exact_match/left_out": float(empty)} if empty else {})

    def _problems(self, held_out: HeldOut, source: str) -> tuple[list[tuple[list[int], int]], int]:
        """Token numbers, the separator first and an end that counts last, and how many are the problem; then how many have no answer."""
        from windtunnel.kits.text.encoded import cut, text_of

        encoded, facts = text_of(held_out.stream, self.name), held_out.facts
        end = [facts.document if facts.end is None else facts.end] if self.ends else []
        found: list[tuple[list[int], int]] = []
        empty = 0
        for text in encoded.documents(held_out.split, source) if source in held_out.sources else ():
            before, sign, answer = text.partition(self.after)
            if len(found) == self.questions:
                break
            asked, wanted = cut(encoded.tokenizer, before + sign, answer) if answer.strip() else ([], [])
            empty += bool(sign) and not wanted
            if wanted and 1 + len(asked) + len(wanted) <= held_out.context:
                found.append(([facts.document, *asked, *wanted, *end], 1 + len(asked)))
        return found, empty

    def _right(self, model: PreTrainedModel, held_out: HeldOut, problems: list[tuple[list[int], int]]) -> int:
        """How many of ``problems`` are answered rightly: if each token is the likeliest behind the right ones, they are what is written."""
        import torch

        from windtunnel.data.held_out import entered
        from windtunnel.models.forward import forward

        longest = max(len(numbers) for numbers, _ in problems)
        tokens = torch.tensor([numbers + [held_out.facts.pad] * (longest - len(numbers)) for numbers, _ in problems])
        documents = torch.tensor([[0] * len(numbers) + [-1] * (longest - len(numbers)) for numbers, _ in problems])
        place = torch.arange(longest)
        answer = (place >= torch.tensor([[asked] for _, asked in problems])) & (documents == 0)
        positions = place.expand_as(tokens)
        tokens, documents, positions, answer = (one.to(held_out.device) for one in (tokens, documents, positions, answer))
        with torch.no_grad(), entered(held_out.precision):
            likeliest = forward(model, tokens[:, :-1], documents[:, :-1], positions[:, :-1]).logits.argmax(-1)
        return int(((likeliest == tokens[:, 1:]) | ~answer[:, 1:]).all(dim=1).sum())
