"""The loss of labels, whatever has them: rows, graphs, rows of a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from windtunnel.core.errors import PartError
from windtunnel.slots import Loss

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import torch


def labels_loss(model: Any, arrays: Mapping[str, Any], labels: torch.Tensor, needs: frozenset[str]) -> Loss:
    """The cross entropy, in nats, of ``labels`` (int, any shape, -100 for none); logits of ``arrays`` get the shape of labels."""
    import torch

    from windtunnel.models.forward import forward

    outputs = forward(model, needs=needs, **arrays)
    outputs.logits = outputs.logits.view(*labels.shape, -1)
    flat = outputs.logits.float().flatten(0, -2)
    values = torch.nn.functional.cross_entropy(flat, labels.flatten(), ignore_index=-100, reduction="none")
    return Loss(values.view_as(labels), labels != -100, outputs)


def targets_of(rows: Mapping[str, np.ndarray], classes: int, part: str, cure: str) -> np.ndarray:
    """The labels [B, T] of ``rows`` as targets: -100 where there is none.

    Raises:
        PartError: where no training document has a label, for ``part``; ``cure`` says how documents get one.
    """
    import numpy as np

    if not classes:
        raise PartError(f"{part}: no training document has a label; {cure}")
    label = np.where(rows["documents"] >= 0, rows["label"], -1)
    return np.where(label >= 0, label, -100).astype(np.int64)
