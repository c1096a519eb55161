"""The contract of structures."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from windtunnel.core.part import Part, required
from windtunnel.slots.progress import Progress

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel


class Structure(Part):
    """A shape imposed on the weights while they train: sparse, low-rank, shared."""

    acts = ("constrain", "take", "remove")
    local = "structures reshape or mask whole matrices"

    usual_rate: ClassVar[float] = 1.0  # times the rate of training from scratch: where a search for the rate that adapts a model begins

    @required
    def apply(self, model: PreTrainedModel) -> None:
        """Impose it, in place. Raises PartError where no weight matches."""
        raise NotImplementedError

    def constrain(self, model: PreTrainedModel, progress: Progress | None = None) -> None:
        """Called after every optimizer step (``progress`` is that of the step just made): restore what the update may have broken."""

    @required
    def remove(self, model: PreTrainedModel) -> None:
        """Fold it back into plain dense weights, in place, leaving the function unchanged."""
        raise NotImplementedError

    def penalty(self, model: PreTrainedModel) -> Tensor | None:
        """A scalar that is added to the loss of every step; None: nothing is."""
        return None

    def density(self, model: PreTrainedModel, done: float = 1.0) -> float:
        """The share of linear-layer FLOPs that hardware exploiting the structure would execute at share ``done`` of the phase (1.0: all).

        A pure function of the part, the shapes of ``model`` and ``done``: the loop asks it before the phase to count its steps.
        """
        return 1.0

    def variants(self, model: PreTrainedModel) -> int:
        """How many shapes a step can take, one drawn at random for each step, all equally likely. Each is counted by itself.

        The last is the whole model, which is what is evaluated and what remains.
        """
        return 1

    def take(self, model: PreTrainedModel, variant: int) -> None:
        """Called before every step where there are several variants: give ``model`` the shape ``variant`` (from 0)."""
