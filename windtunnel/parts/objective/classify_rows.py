"""Labels of rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from windtunnel.core.trial import Trial, without
from windtunnel.kits.trials import ROWS
from windtunnel.slots import Loss, Objective

if TYPE_CHECKING:
    import numpy as np
    import torch
    from transformers import PreTrainedModel


class ClassifyRows(Objective, name="classify-rows"):
    """Tell the label of every row: its cross entropy, in nats. Rows without a label are read and do not count.

    ``hide`` is the chance with which each cell of a training row is not shown, drawn anew each time: it keeps a network that sees few rows
    from learning them by heart, and teaches it what to do where a cell has no value.
    """

    trial = Trial({"hide": 0.2}, model={"family": "cells"}, beside=without(ROWS, "objective"))

    kinds: ClassVar[tuple[str, ...]] = ("row-classifier",)
    fields: ClassVar[tuple[str, ...]] = ("numbers", "categories", "label")
    supervised: ClassVar[bool] = True

    hide: float = Field(0.0, ge=0, lt=1, description="chance with which a cell of a training row is not shown")

    def prepare(self, rows: dict[str, np.ndarray], facts: Any, random: np.random.Generator) -> dict[str, np.ndarray]:
        """``numbers`` float32 and ``categories`` int64 [B, T, columns], ``hidden`` bool [B, T, all columns], ``labels`` int64 [B, T].

        T rows of a table are one sequence.

        Raises:
            PartError: where no training row has a label.
        """
        from windtunnel.kits.sets.classes import targets_of

        cells = len(facts.numbers) + len(facts.categories)
        return {
            **facts.given(rows),
            "hidden": random.random((*rows["documents"].shape, cells)) < self.hide,
            "labels": targets_of(rows, facts.classes, self.name, "name the field that holds it: `encoding: {rows: {label: FIELD}}`"),
        }

    def measured_by(self) -> ClassifyRows:
        """The same with every cell shown."""
        return self.model_copy(update={"hide": 0.0})

    def loss(self, model: PreTrainedModel, batch: dict[str, torch.Tensor], needs: frozenset[str] = frozenset()) -> Loss:
        """The cross entropy of each label [B, T]; the outputs have ``logits`` [B, T, classes]."""
        from windtunnel.kits.sets.classes import labels_loss

        return labels_loss(model, {name: batch[name].flatten(0, 1) for name in ("numbers", "categories", "hidden")}, batch["labels"], needs)
