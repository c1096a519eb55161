"""Whether a model tells how a held-out document goes on from how others do."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from windtunnel.core.errors import PartError
from windtunnel.core.trial import Trial
from windtunnel.parts.objective.next_token import NextToken
from windtunnel.slots import Evaluation, HeldOut

if TYPE_CHECKING:
    import numpy as np
    import torch
    from transformers import PreTrainedModel

ROWS = 32  # sequences in one forward pass
LONGEST = 40  # characters taken for one token when a long document is cut before it is tokenised
PLACES = 64  # questions of one document at most


class Cloze(Evaluation, name="cloze"):
    """How often the true continuation of held-out text is likelier to the model than those of other documents.

    Each question is ``given`` tokens of a held-out document and ``choices`` continuations of ``continuation`` tokens: its own, and
    some that follow at other places, in other documents of the same source. The one of the highest mean log-likelihood is the answer;
    guessing is right in 1 / choices. The form is that of LAMBADA and HellaSwag (Paperno et al. 2016, arXiv:1606.06031; Zellers et al.
    2019, arXiv:1905.07830) without people to write distractors, so it makes an accuracy of any corpus, and accuracy can fall where
    loss does not (Guo et al. 2024, arXiv:2406.14833). ``cloze`` is the mean over sources, then each as ``cloze/<source>``. A source
    without two documents long enough has none.

    Questions depend on text and tokenizer alone: all models of a study are asked the same if they share one, and a larger vocabulary
    gives longer continuations, which makes them easier. Only decoders that can be scored on next tokens are asked; encoders and
    encoder-decoders are refused. No FLOPs of evaluations are counted in a budget.
    """

    trial = Trial({"given": 12, "continuation": 4, "questions": 8, "test_questions": 16})

    unit: ClassVar[str] = "share right"
    better: ClassVar[str] = "higher"
    number: ClassVar[str] = "cloze"

    choices: int = Field(4, ge=2, description="continuations to choose from, the true one among them")
    given: int = Field(32, ge=1, description="tokens of a document before the continuation")
    continuation: int = Field(8, ge=1, description="tokens of each continuation")
    questions: int = Field(64, ge=1, description="most questions of each source during training, on validation")
    test_questions: int = Field(256, ge=1, description="most questions of each source at the end, on test")

    def evaluate(self, model: PreTrainedModel, held_out: HeldOut) -> dict[str, float]:
        """The accuracy over all sources, then of each.

        Raises:
            PartError: where documents are no text, for a model that is not scored on next tokens, for questions longer than the context,
                and where no source has two documents that are long enough.
        """
        import torch

        from windtunnel.kits.text.encoded import vocabulary_of

        vocabulary_of(held_out, self.name)
        objective = held_out.objective.measured_by()
        if model.config.is_encoder_decoder or not isinstance(objective, NextToken):
            raise PartError(f"cloze: needs a decoder that can be scored on next tokens, not one trained with {held_out.objective.name}")
        length, context = self.given + self.continuation, held_out.context
        if length > context:
            raise PartError(f"cloze: given + continuation is {length} tokens, more than the context of {context}; lower them")
        most = self.questions if held_out.split == "validation" else self.test_questions
        right: dict[str, float] = {}
        for source in held_out.sources:
            if (key := (self, source)) not in held_out.made:  # reading and tokenising the text took half of the time
                held_out.made[key] = self._questions(held_out, source, most)
            questions, answers = held_out.made[key]
            if len(answers):
                scores = self._scores(model, held_out, objective, questions)
                right[source] = float((scores.argmax(1) == torch.as_tensor(answers)).double().mean())
        if not right:
            raise PartError(
                f"cloze: no source has two held-out documents of {length} tokens and {self.choices - 1} other continuations; "
                "lower given, continuation or choices, or hold out more"
            )
        return {"cloze": sum(right.values()) / len(right), **{f"cloze/{source}": value for source, value in right.items()}}

    def _questions(self, held_out: HeldOut, source: str, most: int) -> tuple[np.ndarray, np.ndarray]:
        """Token ids [questions, choices, separator + given + continuation], and which choice is the true one."""
        import numpy as np

        from windtunnel.kits.text.encoded import text_of

        length = self.given + self.continuation
        pieces: list[np.ndarray] = []
        documents: list[int] = []
        encoded = text_of(held_out.stream, self.name)
        for number, text in enumerate(encoded.documents(held_out.split, source)):
            tokens = encoded.tokenizer(text[: LONGEST * length * PLACES], add_special_tokens=False)["input_ids"]
            for first in range(0, min(len(tokens), PLACES * length) - length + 1, length):
                pieces.append(np.asarray(tokens[first : first + length], np.int64))
                documents.append(number)
        asked = np.unique(np.linspace(0, len(pieces) - 1, min(most, len(pieces))).astype(int)) if pieces else np.zeros(0, int)
        owner = np.asarray(documents)
        questions, answers = [], []
        for place in asked:
            random = np.random.default_rng([zlib.crc32(source.encode()), int(place)])
            true = pieces[place][self.given :]
            endings = [true]
            for other in random.permutation(np.flatnonzero(owner != owner[place])):
                ending = pieces[other][self.given :]
                if not any(np.array_equal(ending, known) for known in endings):  # the same words elsewhere would be right as well
                    endings.append(ending)
                if len(endings) == self.choices:
                    break
            if len(endings) < self.choices:
                continue
            order = random.permutation(self.choices)
            start = np.concatenate([[held_out.facts.document], pieces[place][: self.given]])
            questions.append([np.concatenate([start, endings[choice]]) for choice in order])
            answers.append(int(np.flatnonzero(order == 0)[0]))
        return np.asarray(questions, np.int64), np.asarray(answers, np.int64)

    def _scores(self, model: PreTrainedModel, held_out: HeldOut, objective: NextToken, questions: np.ndarray) -> torch.Tensor:
        """The log-likelihood of each continuation, [questions, choices]: all are as long, so sums rank as means do."""
        import numpy as np
        import torch

        from windtunnel.data.held_out import entered

        rows = questions.reshape(-1, questions.shape[-1])
        found = []
        for first in range(0, len(rows), ROWS):
            tokens = rows[first : first + ROWS]
            positions = np.tile(np.arange(tokens.shape[1]), (len(tokens), 1))
            plain = {
                "tokens": tokens,
                "documents": np.zeros_like(tokens),
                "positions": positions,
                "sources": np.zeros(len(tokens), np.int64),
            }
            batch = objective.prepare(plain, held_out.facts, np.random.default_rng(0))
            tensors = {key: torch.as_tensor(value).to(held_out.device) for key, value in batch.items()}
            with torch.no_grad(), entered(held_out.precision):
                loss = objective.loss(model, tensors)
            # The last targets of each row are the continuation's, whatever a mode token has put before them.
            behind = loss.counts.flip(1).cumsum(1).flip(1)
            ending = loss.counts & (behind <= self.continuation)
            found.append(-torch.where(ending, loss.values, 0.0).sum(1).double().cpu())
        return torch.cat(found).view(questions.shape[:2])
