"""Where a run stands."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """Where a run stands, before the step that is about to be made.

    ``step`` and ``tokens`` count within the phase; ``done`` is the share of the phase (0 to 1), ``overall`` that of the whole run.
    ``tokens`` counts input tokens; ``step_tokens`` is how many one step adds; ``sequences`` how many sequences one step holds.
    """

    step: int
    steps: int
    tokens: int
    step_tokens: int
    sequences: int
    done: float
    overall: float
    phase: int

    @classmethod
    def first(cls, sequences: int, positions: int = 1, phase: int = 0) -> Progress:
        """Before the first step of phase number ``phase``, as if it had one: a step holds ``sequences`` sequences of ``positions``."""
        return cls(0, 1, 0, sequences * positions, sequences, 0.0, 0.0, phase)
