"""Two views of a graph that agree, in numbers that do not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from windtunnel.core.errors import PartError
from windtunnel.core.trial import Trial, without
from windtunnel.kits.trials import GRAPHS
from windtunnel.slots import Loss, Objective

if TYPE_CHECKING:
    import numpy as np
    import torch
    from transformers import PreTrainedModel


class CorrelatedNodes(Objective, name="correlated-nodes"):
    """Bring the two views of every node together while the numbers that describe nodes stay uncorrelated: CCA-SSG, without labels.

    Each view of a graph loses edges and the features of nodes by chance. Numbers are standardised over all nodes of a step; the loss is the
    squared distance of a node from its other view, and ``decorrelate`` times the squared distance of the correlations of each view from
    the identity, without which all nodes would end in one point. Zhang et al. 2021, arXiv:2106.12484. With several ranks it would compare
    the nodes of one alone, so that is refused.
    """

    trial = Trial(
        model={"family": "graph-attention"}, beside={**without(GRAPHS, "objective"), "evaluations": {"probe": {"shots": 2, "draws": 1}}}
    )

    kinds: ClassVar[tuple[str, ...]] = ("graph-network",)
    fields: ClassVar[tuple[str, ...]] = ("nodes", "edges", "there")
    together: ClassVar[bool] = True
    views: ClassVar[int] = 2

    edges: float = Field(0.3, ge=0, lt=1, description="chance with which a view loses an edge")
    features: float = Field(0.3, ge=0, lt=1, description="chance with which the features of a node are hidden in a view")
    decorrelate: float = Field(0.01, ge=0, description="weight of what keeps numbers uncorrelated")

    def prepare(self, rows: dict[str, np.ndarray], facts: Any, random: np.random.Generator) -> dict[str, np.ndarray]:
        """``nodes``, ``edges``, ``there`` and ``hidden`` [B, T, 2, ...], both views; ``labels`` int64 [B, T, nodes], 0 for a node."""
        import numpy as np

        from windtunnel.kits.sets.nodes import arrays_of

        arrays = {name: np.repeat(array[:, :, None], 2, axis=2) for name, array in arrays_of(rows).items()}
        lost = random.random(arrays["edges"].shape[:-1]) < self.edges
        arrays["edges"] = np.where(lost[..., None], -1, arrays["edges"])
        real = arrays["there"][:, :, 0] & (rows["documents"] >= 0)[..., None]
        hidden = random.random(arrays["there"].shape) < self.features
        return {**arrays, "hidden": hidden, "labels": np.where(real, 0, -100).astype(np.int64)}

    def loss(self, model: PreTrainedModel, batch: dict[str, torch.Tensor], needs: frozenset[str] = frozenset()) -> Loss:
        """The loss of each node [B, T, nodes]; their mean is that of the paper.

        Raises:
            PartError: where a step holds fewer than two nodes.
        """
        import torch

        from windtunnel.kits.sets.nodes import GIVEN
        from windtunnel.models.forward import forward

        arrays: dict[str, Any] = {name: batch[name].flatten(0, 2) for name in (*GIVEN, "hidden")}
        outputs = forward(model, needs=needs, **arrays)
        counts = batch["labels"] != -100
        views = outputs.states.float().unflatten(0, (*counts.shape[:2], 2))
        one, two = (views[:, :, view][counts] for view in range(2))
        if len(one) < 2:
            raise PartError("correlated-nodes: a step holds one node; raise context or batch")
        one, two = ((view - view.mean(dim=0)) / (view.std(dim=0) + 1e-4) / len(view) ** 0.5 for view in (one, two))
        same = torch.eye(one.shape[1], device=one.device)
        apart = sum(((view.T @ view - same) ** 2).sum() for view in (one, two))
        mine = len(one) * ((one - two) ** 2).sum(dim=-1) + self.decorrelate * apart
        values = torch.zeros(counts.shape, device=mine.device).masked_scatter(counts, mine)
        return Loss(values, counts, outputs)
