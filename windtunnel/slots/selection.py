"""The contract of selections."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from windtunnel.core.part import Part, required
from windtunnel.slots.contexts import BatchContext

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


class Selection(Part):
    """Which of the sequences that were drawn are trained on. A step draws ``candidates`` times its batch and trains on the chosen part."""

    candidates: int = Field(4, ge=1, description="how many times the batch is drawn for one step to choose from")

    @required
    def score(self, model: PreTrainedModel, batch: dict[str, torch.Tensor], context: BatchContext) -> torch.Tensor:
        """A number for each sequence of ``batch``, float [sequences], without gradient; the highest are trained on.

        Called on micro-batches of the candidates. Not a number means never, if there are others.
        """
        raise NotImplementedError
