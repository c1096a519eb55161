"""What the slots that act within a step are handed: the batch they judge, the data they may look at ahead."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from windtunnel.slots.objective import Objective
from windtunnel.slots.progress import Progress

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class BatchContext(NamedTuple):
    """What a part may use while a batch is judged: the phase's objective, where the run stands, and the part's own other models.

    ``models`` holds them by the field that names them (:meth:`Part.trained`), frozen, in evaluation mode, on the device of the batch.
    ``objective.loss(models["teacher"], batch, needs)`` is what a teacher says of the same batch; call it under ``torch.no_grad()``.
    """

    objective: Objective
    progress: Progress
    models: Mapping[str, PreTrainedModel]


class LookContext(NamedTuple):
    """What a part may look at before its phase begins: training text, prepared by the phase's objective.

    ``batches(source, sequences, size)`` yields the first ``sequences`` sequences of a source in the run's own order (those that an
    earlier phase on it has read first), ``size`` at a time, as dictionaries of tensors on the device; the phase's own documents are not
    used up by it. ``precision`` is a function that makes the context to enter round forward passes. Tokens read and FLOPs spent are
    charged to the run, out of the budget of the phase.
    """

    objective: Objective
    batches: Any
    precision: Any
    models: Mapping[str, PreTrainedModel]
