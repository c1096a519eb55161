"""How much of what came once a model writes again, by how long ago it came."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field, model_validator

from windtunnel.core.errors import PartError
from windtunnel.core.settings import Many
from windtunnel.core.trial import Trial
from windtunnel.kits.text.gapped import SYMBOLS, problem, spelt
from windtunnel.parts.evaluation.bits_by_length import within
from windtunnel.parts.objective.next_token import NextToken
from windtunnel.slots import Evaluation, HeldOut, Structure

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

TOKENS = 4096  # in one forward pass


class CopyAccuracy(Evaluation, name="copy-accuracy"):
    """The share of the second copy that a model predicts, on problems as of the source `gapped-copy`, of given lengths.

    ``copy-accuracy/256`` is the share of right symbols (the likeliest token is the one) in problems of 256 symbols, over the second copy
    without its first symbol, which nothing foretells. The distance between the copies is the length less ``copied`` and ``offset``.
    Lengths may be beyond the context that the model was trained at. ``copy-accuracy`` is the mean over lengths; what a method for long
    contexts does shows in the numbers by length alone. Guessing among all symbols is right in 1 / ``symbols``, guessing among those
    that are not out yet in some more.

    With ``inside`` the model is measured within a structure that is taken away again, so that methods that act when a model is used
    are measured on models that were trained without. Problems depend on the knobs alone, so all models are asked the same.
    """

    trial = Trial({"lengths": [12, 24, 40], "copied": 4, "symbols": 8, "offset": 2, "questions": 4})

    unit: ClassVar[str] = "share right"
    better: ClassVar[str] = "higher"
    number: ClassVar[str] = "copy-accuracy"

    lengths: Many[int] = Field((64, 96, 128, 256), min_length=1, description="symbols of the problems, rising")
    copied: int = Field(12, ge=2, description="symbols that come twice, `length` of the source")
    symbols: int = Field(26, ge=3, le=len(SYMBOLS), description="kinds of symbols, `letters` of the source")
    offset: int = Field(4, ge=0, description="symbols of filler before the first copy")
    questions: int = Field(64, ge=1, description="problems of each length; each asks for copied - 1 symbols")
    inside: Structure | None = Field(None, description="the structure within which the model is measured (default: none)")

    @model_validator(mode="after")
    def _fits(self) -> CopyAccuracy:
        if self.copied >= self.symbols:
            raise ValueError(f"copied: {self.copied} different symbols and one of filler need symbols of at least {self.copied + 1}")
        if list(self.lengths) != sorted(set(self.lengths)) or self.lengths[0] < self.offset + 2 * self.copied:
            raise ValueError(f"lengths rise, none twice, from at least offset + 2 copied = {self.offset + 2 * self.copied}")
        return self

    def evaluate(self, model: PreTrainedModel, held_out: HeldOut) -> dict[str, float]:
        """The mean over lengths, then the accuracy at each length.

        Raises:
            PartError: where documents are no text, for a model that is not scored on next tokens or has learned fewer positions than a
                problem has, and where a symbol is not one token.
        """
        from windtunnel.kits.text.encoded import vocabulary_of
        from windtunnel.models.init import family_of

        vocabulary_of(held_out, self.name)
        if model.config.is_encoder_decoder or not isinstance(held_out.objective.measured_by(), NextToken):
            raise PartError(
                f"{self.name}: needs a decoder that can be scored on next tokens, not one trained with {held_out.objective.name}"
            )
        learned = family_of(model.config).positions(model.config)
        if learned is not None and learned < self.lengths[-1]:
            raise PartError(f"{self.name}: this model has learned {learned} positions, too few for problems of {self.lengths[-1]} symbols")
        model = within(model, self.inside)
        found = {length: self._share_right(model, held_out, length) for length in self.lengths}
        return {self.name: sum(found.values()) / len(found), **{f"{self.name}/{length}": share for length, share in found.items()}}

    def _share_right(self, model: PreTrainedModel, held_out: HeldOut, length: int) -> float:
        """The accuracy over all problems of ``length`` symbols."""
        import torch

        from windtunnel.data.held_out import entered
        from windtunnel.models.forward import forward

        if (key := (self.model_copy(update={"inside": None}), length)) not in held_out.made:
            held_out.made[key] = self._problems(held_out, length)
        right = []
        for tokens in held_out.made[key].split(max(1, TOKENS // length)):
            tokens = tokens.to(held_out.device)
            with torch.no_grad(), entered(held_out.precision):
                answers = forward(model, tokens[:, :-1]).logits[:, 1 - self.copied :].argmax(-1)
            right.append((answers == tokens[:, 1 - self.copied :]).double().cpu())
        return float(torch.cat(right).mean())

    def _problems(self, held_out: HeldOut, length: int) -> torch.Tensor:
        """Token ids [questions, separator + length]."""
        import random

        import torch

        from windtunnel.kits.text.encoded import text_of

        tokenizer, chance = text_of(held_out.stream, self.name).tokenizer, random.Random(length)
        gap = length - self.offset - 2 * self.copied
        rows = []
        for _ in range(self.questions):
            symbols = problem(chance, copied=self.copied, symbols=self.symbols, offset=self.offset, gap=gap)
            tokens = tokenizer(spelt(symbols), add_special_tokens=False)["input_ids"]
            if len(tokens) != length:
                raise PartError(
                    f"{self.name}: {length} symbols are {len(tokens)} tokens of this tokenizer; train one on the source gapped-copy, with "
                    f"filler: letters and a vocabulary that holds the {self.symbols} symbols besides bytes and special tokens"
                )
            rows.append([held_out.facts.document, *tokens])
        return torch.tensor(rows)
