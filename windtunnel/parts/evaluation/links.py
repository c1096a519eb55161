"""Whether the nodes of a graph tell which edges it had."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from windtunnel.core.errors import PartError
from windtunnel.core.trial import Trial
from windtunnel.kits.trials import GRAPHS
from windtunnel.slots import Evaluation, HeldOut

if TYPE_CHECKING:
    import numpy as np
    from transformers import PreTrainedModel

    from windtunnel.slots import Objective


class Links(Evaluation, name="links"):
    """Bits per pair of telling edges that were taken out of held-out graphs from pairs of nodes that have none, as many of each.

    A share of the edges of each graph is taken out by a fixed seed, the model reads the rest, and a pair is scored by the cosine of its
    nodes. Scale and offset of the score are fitted on validation, so that no model is punished for how it counts; without any knowledge
    bits are 1. Beside it ``links_area``, the chance that an edge scores above a pair without one.
    """

    trial = Trial(model={"family": "graph-attention"}, beside={**GRAPHS, "objective": "masked-nodes", "evaluations": []})

    unit: ClassVar[str] = "bits per pair"
    better: ClassVar[str] = "lower"
    number: ClassVar[str] = "links"
    by_objective: ClassVar[bool] = False

    share: float = Field(0.3, gt=0, lt=1, description="share of the edges of a graph that are taken out, at least one")

    def measures(self, objective: Objective) -> bool:
        """One that reads graphs."""
        return "edges" in objective.fields

    def evaluate(self, model: PreTrainedModel, held_out: HeldOut) -> dict[str, float]:
        """``links`` and ``links_area`` over all sources.

        Raises:
            PartError: where no graph has both an edge and a pair of nodes without one.
        """
        import numpy as np
        from scipy.stats import rankdata

        fitted = self._scored(model, held_out, "validation")
        judged = fitted if held_out.split == "validation" else self._scored(model, held_out, held_out.split)
        if not len(fitted[0]) or not len(judged[0]):
            raise PartError("links: no held-out graph has an edge, and two nodes without one; hold out more")
        slope, offset = logistic(*fitted)
        scores, edges = judged
        odds = slope * scores + offset
        bits = np.logaddexp(0, np.where(edges, -odds, odds)).mean() / math.log(2)
        positive, count = float(rankdata(scores)[edges].sum()), int(edges.sum())
        area = (positive - count * (count + 1) / 2) / (count * (len(edges) - count))
        return {"links": float(bits), "links_area": float(area)}

    def _scored(self, model: PreTrainedModel, held_out: HeldOut, split: str) -> tuple[np.ndarray, np.ndarray]:
        """Cosines float64 [pairs] of pairs of nodes, and which of them are edges that were taken out, bool [pairs]."""
        import numpy as np
        import torch

        from windtunnel.data.held_out import entered
        from windtunnel.data.loader import Loader
        from windtunnel.kits.sets.nodes import arrays_of
        from windtunnel.models.forward import forward

        random, scores, edges = np.random.default_rng(0), [np.zeros(0)], [np.zeros(0, bool)]
        for source in held_out.sources:
            if not held_out.stream.sizes(split)[source]:
                continue
            for rows in Loader(held_out.stream, split=split, context=held_out.context, sequences=16).fixed(source):
                arrays: dict[str, Any] = {name: array[rows["documents"] >= 0] for name, array in arrays_of(rows).items()}
                pairs = [self._pairs(ends, int(there.sum()), random) for ends, there in zip(arrays["edges"], arrays["there"], strict=True)]
                given: dict[str, Any] = {
                    name: torch.from_numpy(np.ascontiguousarray(array)).to(held_out.device) for name, array in arrays.items()
                }
                with torch.no_grad(), entered(held_out.precision):
                    states = forward(model, **given).states
                states = torch.nn.functional.normalize(states.double(), dim=-1).cpu().numpy()
                for nodes, (mine, taken) in zip(states, pairs, strict=True):
                    scores.append((nodes[mine[:, 0]] * nodes[mine[:, 1]]).sum(axis=-1))
                    edges.append(taken)
        return np.concatenate(scores), np.concatenate(edges)

    def _pairs(self, ends: np.ndarray, nodes: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Pairs [pairs, 2], and which are edges; these are taken out of ``ends``, in place."""
        import numpy as np

        real = np.flatnonzero(ends[:, 0] >= 0)
        near = np.eye(nodes, dtype=bool)
        near[ends[real, 0], ends[real, 1]] = near[ends[real, 1], ends[real, 0]] = True
        without = np.argwhere(np.triu(~near))
        count = min(max(1, round(self.share * len(real))), len(real), len(without))
        taken = random.permutation(real)[:count]
        pairs = np.concatenate([ends[taken], random.permutation(without)[:count]]).astype(np.int64)
        ends[taken] = -1
        return pairs, np.arange(len(pairs)) < count


def logistic(scores: np.ndarray, edges: np.ndarray) -> tuple[float, float]:
    """Slope and offset of the logistic regression of ``edges`` on ``scores``, by Newton's steps, held near zero by a weak penalty."""
    import numpy as np

    inputs, weights = np.stack([scores, np.ones_like(scores)], axis=1), np.zeros(2)
    for _ in range(50):
        odds = 1 / (1 + np.exp(-np.clip(inputs @ weights, -30, 30)))
        slope = inputs.T @ (odds - edges) + 1e-3 * weights
        bend = (inputs * (odds * (1 - odds))[:, None]).T @ inputs + 1e-3 * np.eye(2)
        weights = weights - np.linalg.solve(bend, slope)
    return float(weights[0]), float(weights[1])
