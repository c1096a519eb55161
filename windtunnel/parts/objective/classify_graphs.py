"""Labels of graphs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from windtunnel.core.errors import PartError
from windtunnel.core.trial import Trial, without
from windtunnel.kits.trials import GRAPHS
from windtunnel.slots import Loss, Objective

if TYPE_CHECKING:
    import numpy as np
    import torch
    from transformers import PreTrainedModel


class ClassifyGraphs(Objective, name="classify-graphs"):
    """Tell the label of every graph: its cross entropy, in nats. Graphs without a label are read and do not count."""

    trial = Trial(model={"family": "graph-attention"}, beside=without(GRAPHS, "objective"))

    kinds: ClassVar[tuple[str, ...]] = ("graph-network",)
    fields: ClassVar[tuple[str, ...]] = ("nodes", "edges", "there", "label")
    supervised: ClassVar[bool] = True

    def prepare(self, rows: dict[str, np.ndarray], facts: Any, random: np.random.Generator) -> dict[str, np.ndarray]:
        """The arrays of :func:`windtunnel.kits.sets.nodes.arrays_of` and ``labels`` int64 [B, T]; T graphs are one sequence.

        Raises:
            PartError: where no training graph has a label, or a graph has one that no training graph has.
        """
        from windtunnel.kits.sets.classes import targets_of
        from windtunnel.kits.sets.nodes import arrays_of

        cure = "give graph-files a table of them (labels: labels.csv) or documents a field label, or learn without by masked-nodes"
        labels = targets_of(rows, facts.classes, self.name, cure)
        if labels.max(initial=0) >= facts.classes:
            raise PartError(
                f"classify-graphs: a graph has the label {labels.max()}, and training graphs have 0 to {facts.classes - 1} alone; "
                "leave such graphs out, or give more of them"
            )
        return {**arrays_of(rows), "labels": labels}

    def loss(self, model: PreTrainedModel, batch: dict[str, torch.Tensor], needs: frozenset[str] = frozenset()) -> Loss:
        """The cross entropy of each label [B, T]; the outputs have ``logits`` [B, T, classes]."""
        from windtunnel.kits.sets.classes import labels_loss
        from windtunnel.kits.sets.nodes import GIVEN

        return labels_loss(model, {name: batch[name].flatten(0, 1) for name in GIVEN}, batch["labels"], needs)
