"""The contract of evaluations, and what they may look at."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from windtunnel.core.part import Part
from windtunnel.slots.encoding import Facts
from windtunnel.slots.objective import Objective

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass
class HeldOut:
    """What an evaluation may look at: batches of a held-out split, prepared by the objective, and how to judge them.

    ``batches(source, objective)`` yields dictionaries of tensors on ``device`` in a fixed order; ``stream`` holds the documents of
    ``split`` (None where there are only batches), and ``facts`` is what its encoding knows of its numbers. ``context`` is how many
    units a model sees. ``precision`` is entered around forwards (a context manager).
    ``made`` is for what an evaluation has made of it and will need again, by a key of its own: it is judged many times in a run.
    """

    sources: tuple[str, ...]
    batches: Any
    stream: Any
    facts: Facts
    objective: Objective
    device: Any
    precision: Any
    split: str
    context: int
    made: dict[Any, Any] = field(default_factory=dict)


class Evaluation(Part):
    """Numbers of a model. ``better`` says which direction is good, ``unit`` what they are counted in.

    ``by_objective`` says that held-out documents are scored with the objective that the model was trained with.

    Measuring costs a run nothing. A recipe that an evaluation holds is flown, cached and charged like that of any other part, and so is
    what it looks at ahead: its numbers steer mixtures, schedules and limits, so what was trained to give them is not free.
    """

    acts = ("evaluate",)

    by_objective: ClassVar[bool] = True
    unit: ClassVar[str] = ""
    better: ClassVar[str] = "lower"

    def evaluate(self, model: PreTrainedModel, held_out: HeldOut) -> dict[str, float]:
        """Numbers by name; the first is the primary one. The model is in evaluation mode and no gradient is kept.

        ``state`` is that of the phase, and on test that of the last one. Of several ranks, rank 0 evaluates.
        """
        raise NotImplementedError
