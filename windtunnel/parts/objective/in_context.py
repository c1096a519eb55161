"""Labels of rows by other rows of their table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from windtunnel.core.trial import Trial, without
from windtunnel.kits.trials import TABLES
from windtunnel.slots import Loss, Objective

if TYPE_CHECKING:
    import numpy as np
    import torch
    from transformers import PreTrainedModel


class InContextLabels(Objective, name="in-context"):
    """Tell the labels of rows whose table shows others with theirs: the cross entropy of each, in nats.

    How many rows of a table are shown is drawn for each table anew, any number from ``least`` to all but one with the same chance, and the
    rest are the targets; which rows, too. What it converges to is the posterior of the prior that tables are drawn from: Mueller et al.
    2022, arXiv:2112.10510. ``shuffled`` deals the shown labels among the shown rows at random, a control that nothing can be inferred from
    but how frequent labels are.
    """

    trial = Trial(model={"family": "pfn"}, beside=without(TABLES, "objective"))

    kinds: ClassVar[tuple[str, ...]] = ("rows-in-context",)
    fields: ClassVar[tuple[str, ...]] = ("cells", "label")
    supervised: ClassVar[bool] = True

    least: int = Field(0, ge=0, description="fewest rows that are shown")
    shuffled: bool = Field(False, description="whether shown labels are dealt at random in training: a control")

    def prepare(self, rows: dict[str, np.ndarray], facts: Any, random: np.random.Generator) -> dict[str, np.ndarray]:
        """``cells`` float32 [B, T, rows, features], ``known`` and ``labels`` int64 [B, T, rows]; T tables are one sequence.

        ``known`` is -1 where a label is not shown, ``labels`` -100 where it is.
        """
        import numpy as np

        label = np.where(rows["documents"][..., None] >= 0, rows["label"], -1)
        real = (label >= 0).sum(axis=-1, keepdims=True)
        order = np.where(label >= 0, random.random(label.shape), 2.0).argsort(axis=-1).argsort(axis=-1)  # the place of each row
        shown = np.floor(self.least + random.random(real.shape) * np.maximum(real - self.least, 0))
        known = np.where((order < shown) & (label >= 0), label, -1)
        labels = np.where((order >= shown) & (label >= 0), label, -100)
        if self.shuffled:
            for table in known.reshape(-1, known.shape[-1]):
                table[table >= 0] = random.permutation(table[table >= 0])
        return {"cells": rows["cells"].astype(np.float32), "known": known.astype(np.int64), "labels": labels.astype(np.int64)}

    def measured_by(self) -> InContextLabels:
        """The same with labels where they belong."""
        return self.model_copy(update={"shuffled": False})

    def loss(self, model: PreTrainedModel, batch: dict[str, torch.Tensor], needs: frozenset[str] = frozenset()) -> Loss:
        """The cross entropy of each label [B, T, rows]; the outputs have ``logits`` [B, T, rows, classes]."""
        from windtunnel.kits.sets.classes import labels_loss

        return labels_loss(model, {name: batch[name].flatten(0, 1) for name in ("cells", "known")}, batch["labels"], needs)
