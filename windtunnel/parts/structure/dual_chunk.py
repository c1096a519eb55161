"""Read long sequences in chunks, at distances that were trained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, model_validator

from windtunnel.core.trial import Trial
from windtunnel.slots import Structure

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel


class DualChunk(Structure, name="dual-chunk"):
    """Count positions within chunks, so that no distance is longer than ``chunk`` however long the sequence is.

    Dual chunk attention: An et al. 2024, arXiv:2402.17463, from the authors' code; what Qwen2.5-1M reads a million tokens with
    (arXiv:2501.15383). A chunk holds ``chunk - near`` tokens. Within it distances are the model's own, and to the ``near`` nearest of the
    chunk before they still are. Further back in that chunk they end at ``chunk``, and all chunks before that are seen at one position each
    token for itself, so what comes first among them cannot be told. The authors take three quarters and an eighth of the context of
    training. Their factor of YaRN on the logits is not applied. Up to the length of a chunk it is plain attention, to the bit.

    As `lambda-attention`, it is meant as `inside` of an evaluation, and is taken away at the end of a phase.
    """

    trial = Trial({"chunk": 12, "near": 4})
    identity = {"chunk": 64}
    conflicts: ClassVar[dict[str, str]] = dict.fromkeys(
        ("prefix-lm", "permuted-order"), "a token that sees later ones has no distance to the chunks behind it"
    )

    chunk: int = Field(ge=2, description="longest distance; three quarters of the context of training")
    near: int | None = Field(
        None, ge=1, description="tokens of the chunk before that are seen at their own distance (default: a sixth of the chunk, or one)"
    )

    @model_validator(mode="after")
    def _fits(self) -> DualChunk:
        if self.near is not None and self.near >= self.chunk:
            raise ValueError(f"near: {self.near} tokens at their own distance need a longer chunk than {self.chunk}")
        return self

    @property
    def close(self) -> int:
        """How many tokens of the chunk before are seen at their own distance."""
        return self.near or max(1, self.chunk // 6)

    def apply(self, model: PreTrainedModel) -> None:
        """From now on. Raises PartError for a model without rotary positions, and where another rule is in place."""
        from windtunnel.kits.text.distances import put_on

        put_on(model, self, self.name)

    def remove(self, model: PreTrainedModel) -> None:
        """Let the model attend as it was built to, which for sequences longer than a chunk is another function."""
        from windtunnel.kits.text.distances import take_off

        take_off(model)

    def plain_up_to(self) -> int:
        """As for every rule."""
        return self.chunk - self.close

    def scores(self, query: Tensor, key: Tensor, positions: Tensor, turn: Any) -> tuple[Tensor, Tensor | None]:
        """As for every rule."""
        import torch

        size = self.chunk - self.close
        number, place = positions // size, positions % size
        keys = turn(key, place).transpose(-1, -2)
        within = turn(query, place) @ keys
        next_to = turn(query, (place + size).clamp(max=self.chunk)) @ keys
        beyond = turn(query, torch.full_like(positions, min(2 * size - 1, self.chunk))) @ keys
        apart = (number[:, :, None] - number[:, None])[:, None]
        return torch.where(apart <= 0, within, torch.where(apart == 1, next_to, beyond)), None
