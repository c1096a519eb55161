"""Begin from nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from windtunnel.slots import ALONE, Start, StartContext

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Scratch(Start, name="scratch"):
    """Draw every weight anew, from the distribution that the model's family uses.

    Each weight is drawn from a generator seeded by the run's seed and the weight's name, so arms with equal names and shapes begin
    with equal weights. In a later phase it forgets the model of the phase before.
    """

    local = ""

    def build(self, previous: PreTrainedModel | None, config: Any, seed: int, context: StartContext = ALONE) -> PreTrainedModel:
        """A network of ``config`` with first weights drawn from ``seed``."""
        from windtunnel.models.init import fresh

        return fresh(config, seed)
