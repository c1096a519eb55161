"""Begin from nothing."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedModel

from windtunnel.models.build import fresh
from windtunnel.slots import ALONE, Start, StartContext


class Scratch(Start, name="scratch"):
    """Draw every weight anew, from the distribution that the model's family uses.

    Each weight is drawn from a generator seeded by the run's seed and the weight's name, so arms with equal names and shapes begin
    with equal weights. In a later phase it forgets the model of the phase before.
    """

    def build(self, previous: PreTrainedModel | None, config: Any, seed: int, context: StartContext = ALONE) -> PreTrainedModel:
        """A network of ``config`` with first weights drawn from ``seed``."""
        return fresh(config, seed)
