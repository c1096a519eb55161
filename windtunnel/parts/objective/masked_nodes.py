"""Features of hidden nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from windtunnel.core.trial import Trial, without
from windtunnel.kits.trials import GRAPHS
from windtunnel.slots import Loss, Objective

if TYPE_CHECKING:
    import numpy as np
    import torch
    from transformers import PreTrainedModel


class MaskedNodes(Objective, name="masked-nodes"):
    """Draw the features of hidden nodes by the others: the scaled cosine error of GraphMAE, which needs no labels.

    Each node of a graph is hidden with the chance ``share``, at least one. The error of a hidden node is (1 - cosine) to the power of
    ``sharpness``, which makes light of those that are nearly right. Hou et al. 2022, arXiv:2205.10803; the decoder is a matrix here and
    hidden nodes are not hidden again before it.
    """

    trial = Trial(
        model={"family": "graph-attention"}, beside={**without(GRAPHS, "objective"), "evaluations": {"probe": {"shots": 2, "draws": 1}}}
    )

    kinds: ClassVar[tuple[str, ...]] = ("graph-network",)
    fields: ClassVar[tuple[str, ...]] = ("nodes", "edges", "there")

    share: float = Field(0.5, gt=0, le=1, description="chance with which a node is hidden")
    sharpness: float = Field(2.0, ge=1, description="the power of the error")

    def prepare(self, rows: dict[str, np.ndarray], facts: Any, random: np.random.Generator) -> dict[str, np.ndarray]:
        """The arrays of :func:`windtunnel.kits.sets.nodes.arrays_of`, ``hidden`` bool and ``labels`` int64 [B, T, nodes], 0 for one."""
        import numpy as np

        from windtunnel.kits.sets.nodes import arrays_of

        arrays = arrays_of(rows)
        there = arrays["there"] & (rows["documents"] >= 0)[..., None]
        drawn = np.where(there, random.random(there.shape), 2.0)
        hidden = there & ((drawn < self.share) | (drawn == drawn.min(axis=-1, keepdims=True)))
        return {**arrays, "hidden": hidden, "labels": np.where(hidden, 0, -100).astype(np.int64)}

    def loss(self, model: PreTrainedModel, batch: dict[str, torch.Tensor], needs: frozenset[str] = frozenset()) -> Loss:
        """The error of each node [B, T, nodes]."""
        from torch.nn.functional import cosine_similarity

        from windtunnel.kits.sets.nodes import GIVEN
        from windtunnel.models.forward import forward

        arrays: dict[str, Any] = {name: batch[name].flatten(0, 1) for name in (*GIVEN, "hidden")}
        outputs = forward(model, needs=needs, **arrays)
        apart = 1 - cosine_similarity(outputs.drawn.float(), arrays["nodes"], dim=-1)
        values = apart.clamp(min=0) ** self.sharpness  # rounding takes a cosine above 1, and a power of less than nothing is none
        return Loss(values.view_as(batch["labels"]), batch["labels"] != -100, outputs)
