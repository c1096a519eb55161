"""Whether a model prefers the right answer: multiple-choice questions of the user's."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field

from windtunnel.core.errors import PartError
from windtunnel.core.trial import Trial
from windtunnel.parts.objective.next_token import NextToken
from windtunnel.slots import ByDocument, Evaluation, HeldOut, Numbers, Objective

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class MultipleChoice(Evaluation, name="multiple-choice"):
    """The share of questions in a JSON-lines file whose right choice is the likeliest continuation, over the length of each choice.

    A line is ``{"question": "...", "choices": ["...", "..."], "answer": 0}``; an answer may also be a letter or the choice itself. What
    is compared is the log-likelihood of each choice behind the question and a space, divided by its length in characters, as in
    ``acc_norm`` of lm-evaluation-harness, in tokens, or not at all (``acc``). Text is cut into tokens as there. ``lead`` puts the token
    that begins a document before each question, as training had it; the harness puts there what the tokenizer puts, often nothing.

    ``multiple_choice/FILE`` is the share right, ``.../standard_error`` how far it scatters over questions (their standard deviation over
    the root of their number), ``.../chance`` what guessing gives. No FLOPs of evaluations are counted in a budget.
    """

    trial = Trial({"file": "@questions"})

    unit: ClassVar[str] = "share right"
    better: ClassVar[str] = "higher"

    file: str = Field(min_length=1, description="path of the JSON-lines file")
    digest: str | None = Field(None, description="what its content must be; filled in when it is first opened")
    question: str = Field("question", description="the field that holds the question")
    choices: str = Field("choices", description="the field that holds the list of choices")
    answer: str = Field("answer", description="the field that holds the right one")
    between: str = Field(" ", description="what stands between question and choice")
    per: Literal["characters", "tokens", "nothing"] = Field("characters", description="what log-likelihoods are divided by the number of")
    lead: bool = Field(True, description="whether the token that begins a document stands before each question")
    tracked: int = Field(64, ge=1, description="most questions that are asked on validation during training, evenly spaced")

    def pinned(self) -> Self:
        """The same evaluation, knowing the content of its file."""
        return self if self.digest is not None else self.model_copy(update={"digest": self._content()})

    def first(self, objective: Objective) -> str:
        """By the name of the file."""
        return f"multiple_choice/{Path(self.file).stem}"

    def _content(self) -> str:
        from windtunnel.models.content import digest_of

        path = Path(self.file).expanduser()
        if not path.is_file():
            raise PartError(f"multiple-choice: {self.file}: no such file")
        return digest_of([path])

    def evaluate(self, model: PreTrainedModel, held_out: HeldOut) -> Numbers:
        """The share right, its standard error, and the share that guessing gets right.

        Raises:
            PartError: for a file that is no such questions (naming the line) or has changed, a model that is not scored on next tokens,
                documents that are no text, and a question that is longer than the context.
        """
        import numpy as np

        from windtunnel.kits.text.encoded import vocabulary_of
        from windtunnel.kits.text.prepacked import ending_nats

        vocabulary_of(held_out, self.name)
        objective = held_out.objective.measured_by()
        if model.config.is_encoder_decoder or not isinstance(objective, NextToken):
            raise PartError(
                f"multiple-choice: needs a decoder that is scored on next tokens, not one trained with {held_out.objective.name}"
            )
        if self not in held_out.made:
            held_out.made[self] = self._rows(held_out)
        rows, lengths, owner, answers, lines = held_out.made[self]
        nats = ending_nats(model, rows, objective=objective, held_out=held_out)
        scores = -np.array([each.sum() for each in nats]) / lengths
        right = np.array([int(np.argmax(scores[owner == number])) == answer for number, answer in enumerate(answers)], float)
        error = float(right.std(ddof=1) / len(right) ** 0.5) if len(right) > 1 else 0.0
        chance = float(np.mean([1 / (owner == number).sum() for number in range(len(answers))]))
        name = self.first(objective)
        numbers = {name: float(right.mean()), f"{name}/standard_error": error, f"{name}/chance": chance}
        return Numbers(numbers, ByDocument(np.array(lines, np.int64), right, np.ones(len(right))))

    def _rows(self, held_out: HeldOut) -> tuple[Any, ...]:
        """Tokens and the number of those of the choice, for every choice; their lengths; the question of each; right ones and lines."""
        import numpy as np

        from windtunnel.kits.text.encoded import text_of
        from windtunnel.kits.text.questions import paired, read_questions

        path = Path(self.file).expanduser()
        if self.digest is not None and self._content() != self.digest:
            raise PartError(f"multiple-choice: {self.file}: its content has changed since the recipe was made with {self.digest}")
        asked = read_questions(path, question=self.question, choices=self.choices, answer=self.answer)
        if held_out.split == "validation" and len(asked) > self.tracked:
            asked = [asked[place] for place in np.linspace(0, len(asked) - 1, self.tracked).astype(int)]
        tokenizer = text_of(held_out.stream, self.name).tokenizer
        rows, lengths, owner = [], [], []
        for number, one in enumerate(asked):
            for choice in one.choices:
                before, ending = paired(tokenizer, one.text + self.between, choice)
                before = [held_out.facts.document, *before] if self.lead or not before else before
                if len(before) + len(ending) - 1 > held_out.context:
                    raise PartError(
                        f"{path}:{one.line}: takes {len(before) + len(ending)} tokens, more than the context of {held_out.context}"
                    )
                rows.append((before + ending, len(ending)))
                lengths.append({"characters": len(choice), "tokens": len(ending), "nothing": 1}[self.per])
                owner.append(number)
        return rows, np.asarray(lengths, float), np.asarray(owner), [one.answer for one in asked], [one.line for one in asked]
