"""Bits per byte of text by how much of it a model reads at once, beyond the context of training too."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field, field_validator

from windtunnel.core.errors import PartError
from windtunnel.core.settings import Many
from windtunnel.core.trial import Trial
from windtunnel.parts.evaluation.bits_per_byte import BitsPerByte
from windtunnel.slots import Evaluation, HeldOut, Structure

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class BitsByLength(Evaluation, name="bits-by-length"):
    """Bits per byte of held-out text in windows of given lengths, ``bits_by_length/512`` in those of 512 tokens.

    The same measure as `bits-per-byte`, but for the length: what is read is held-out text in stored order, each token once, and no more
    than ``tokens`` of each source, spread over it. Where a model breaks beyond the context that it was trained at, the numbers rise
    with length; where it reads on but uses no more of the text, they stay; where it uses it, they fall. Documents shorter than a
    length are read whole and then say nothing about it. The first number is that of the longest windows.

    With ``inside`` the model is measured within a structure that is taken away again.
    """

    trial = Trial({"lengths": [16, 48], "tokens": 128})

    unit: ClassVar[str] = "bits per byte"
    better: ClassVar[str] = "lower"
    number: ClassVar[str] = "bits_by_length"

    lengths: Many[int] = Field((64, 128, 256, 512), min_length=1, description="tokens of a window, rising")
    tokens: int = Field(4096, ge=1, description="most tokens of each source that are read at each length")
    inside: Structure | None = Field(None, description="the structure within which the model is measured (default: none)")

    @field_validator("lengths")
    @classmethod
    def _rising(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if list(value) != sorted(set(value)) or value[0] < 8:
            raise ValueError("lengths rise, none twice, from at least 8 tokens")
        return value

    def evaluate(self, model: PreTrainedModel, held_out: HeldOut) -> dict[str, float]:
        """The measure at the longest length, then at each.

        Raises:
            PartError: where documents are no text, or the model has learned fewer positions than a window has.
        """
        from windtunnel.data.held_out import held_out as windows
        from windtunnel.kits.text.encoded import vocabulary_of
        from windtunnel.models.init import family_of

        vocabulary_of(held_out, self.name)
        learned = family_of(model.config).positions(model.config)
        if learned is not None and learned < self.lengths[-1]:
            raise PartError(f"{self.name}: this model has learned {learned} positions, too few for windows of {self.lengths[-1]} tokens")
        model, found = within(model, self.inside), {}
        for length in self.lengths:
            text = windows(
                held_out.stream,
                held_out.split,
                objective=held_out.objective,
                context=length,
                sequences=max(1, self.tokens // length),
                limit_tokens=self.tokens,
                device=held_out.device,
                precision=held_out.precision,
            )
            found[f"bits_by_length/{length}"] = next(iter(BitsPerByte().evaluate(model, text).values()))
        return {"bits_by_length": found[f"bits_by_length/{self.lengths[-1]}"], **found}


def within(model: PreTrainedModel, structure: Structure | None) -> PreTrainedModel:
    """``model`` within ``structure``: a copy, because a structure need not be one that can be taken away."""
    if structure is None:
        return model
    import copy

    model = copy.deepcopy(model)
    structure.apply(model)
    return model
