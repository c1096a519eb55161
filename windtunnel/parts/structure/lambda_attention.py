"""Read long sequences through a window and the first tokens, at distances that were trained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.slots import Structure

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel


class LambdaAttention(Structure, name="lambda-attention"):
    """Let each token see the ``window`` tokens up to itself and the first ``sinks`` of its document, those at one constant distance.

    LM-Infinite: Han et al. 2023, arXiv:2308.16137, from the authors' code, without its option that lets the last token look at the
    best of the middle again. Within the window positions are the model's own. The first tokens beyond it are seen as if ``window`` tokens
    lay between, so no distance occurs that training did not have. It keeps a model fluent at any length and does not make it remember: what
    lies between the first tokens and the window is not seen.

    It is meant for use without training, as `inside` of an evaluation. As the structure of a phase it acts while that trains and is taken
    away at its end, and the model that is saved attends as it was built to.
    """

    trial = Trial({"window": 8, "sinks": 2})
    identity = {"window": 64}

    window: int = Field(ge=1, description="tokens that a token sees, itself included: the context of training")
    sinks: int = Field(10, ge=0, description="first tokens of a document that are seen from anywhere; as many as there are: no window")
    ceiling: bool = Field(True, description="whether the first tokens are seen at a constant distance (else at their own)")

    def apply(self, model: PreTrainedModel) -> None:
        """From now on. Raises PartError for a model without rotary positions, and where another rule is in place."""
        from windtunnel.kits.text.distances import put_on

        put_on(model, self, self.name)

    def remove(self, model: PreTrainedModel) -> None:
        """Let the model attend as it was built to, which for sequences longer than the window is another function."""
        from windtunnel.kits.text.distances import take_off

        take_off(model)

    def plain_up_to(self) -> int:
        """As for every rule."""
        return self.window

    def scores(self, query: Tensor, key: Tensor, positions: Tensor, turn: Any) -> tuple[Tensor, Tensor | None]:
        """As for every rule."""
        import torch

        scores = turn(query, positions) @ turn(key, positions).transpose(-1, -2)
        near = ((positions[:, :, None] - positions[:, None]) < self.window)[:, None]
        if self.ceiling:
            far = turn(query, torch.full_like(positions, self.window)) @ key.transpose(-1, -2)
            scores = torch.where(near, scores, far)
        return scores, near | (positions < self.sinks)[:, None, None]
