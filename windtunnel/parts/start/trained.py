"""Begin from a model that another recipe trains."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field

from windtunnel.core.part import Trained
from windtunnel.core.trial import Trial
from windtunnel.parts.start.checkpoint import refuse_other_sizes, with_rows
from windtunnel.slots import ALONE, Start, StartContext

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class TrainedStart(Start, name="trained"):
    """Begin with the weights that another recipe ends with, at the same sizes.

    The other recipe is flown once for all arms that begin from it, and its whole cost is charged to each. With ``folder`` instead of
    a recipe it is the part ``checkpoint``.
    """

    local = ""

    trial = Trial({"model": {"folder": "@model"}})

    model: Trained = Field(description="the model to begin from")

    def origin(self) -> str | None:
        """The model, where it is in a folder."""
        return self.model.folder

    def build(self, previous: PreTrainedModel | None, config: Any, seed: int, context: StartContext = ALONE) -> PreTrainedModel:
        """That model. Raises PartError where its sizes, vocabulary or positions are not what the recipe says."""
        from windtunnel.models.sizes import rows_of

        model = context.models["model"]
        refuse_other_sizes(model.config, config, "trained")
        return with_rows(model, rows_of(config), context, "trained")
