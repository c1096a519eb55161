"""Actions as tokens: where the edges of their bins lie, and what becomes of them on a robot of another scale."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.kits.optim.descent import take_steps
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np
    import torch


class ActionBins(Experiment, name="action-bins"):
    """The error of a policy that names the bin of an action.

    Qu et al. 2025, arXiv:2501.15830 (SpatialVLA): edges at equal probabilities of a Gaussian fitted to the actions (``gaussian``), and a
    bin means the middle of its edges; for another robot the Gaussian is fitted again and embeddings are interpolated. Here an action is
    a number with heavy tails: most are small. ``uniform`` has equal bins between the extremes, ``quantile`` equal shares of the actions
    themselves. A bin means the middle of its edges, or with ``means`` the mean of its actions.

    One layer on random features of what is seen names the bin, by cross entropy. ``robot: other`` then has 40 demonstrations of one whose
    actions are ``scale`` times as large: ``keep`` leaves bins and layer as they are and trains on; ``refit`` fits the edges anew
    and trains on, each bin's row of the layer interpolated at where the bin's middle lay among the old ones in deviations; ``scratch``
    fits them and begins anew. The numbers are ``error``, the mean distance from the demonstrator's action on unseen inputs over that of
    the mean action, ``rounding``, the same for the right bin, and ``used``, the bits of the distribution of bins.
    """

    trial = Trial({"demonstrations": 100, "steps": 4})

    unit: ClassVar[str] = "share of the error of the mean action"

    bins: Literal["uniform", "gaussian", "quantile"] = Field("uniform", description="where the edges lie")
    means: bool = Field(False, description="whether a bin means the mean of its actions")
    robot: Literal["own", "keep", "refit", "scratch"] = Field("own", description="whose actions are judged, and how bins were carried over")
    count: int = Field(16, ge=2, description="bins")
    demonstrations: int = Field(2000, ge=50, description="steps of the demonstrator")
    scale: float = Field(0.3, gt=0, description="actions of the other robot over those of the first")
    steps: int = Field(300, ge=1, description="of training; a third of it on the other robot")

    def measure(self, seed: int) -> dict[str, float]:
        """``error``, ``rounding`` and ``used``."""
        import numpy as np
        import torch

        random = np.random.default_rng(seed)
        planes = random.standard_normal((6, 64)), random.uniform(0, 2 * np.pi, 64)
        way = random.standard_normal(64) / 8

        def drawn(count: int, scale: float) -> tuple[torch.Tensor, np.ndarray]:
            features = np.cos(random.standard_normal((count, 6)) @ planes[0] / 2 + planes[1])
            action = np.sinh(2.5 * (features @ way) + 0.2 * random.standard_normal(count))  # small ones crowd, tails are long
            return torch.from_numpy(features).float(), scale * action

        seen, actions = drawn(self.demonstrations, 1.0)
        edges = self.edges(actions)
        layer = torch.zeros(64, self.count)
        weights = self._fitted(layer, seen, actions, edges, self.steps, random)
        if self.robot != "own":
            seen, given = drawn(40, self.scale)
            if self.robot == "refit":
                weights, edges = self.carried(weights, edges, actions, given), self.edges(given)
            elif self.robot == "scratch":
                weights, edges = layer, self.edges(given)
            actions = given
            weights = self._fitted(weights, seen, actions, edges, self.steps // 3, random)
        asked, true = drawn(2000, 1.0 if self.robot == "own" else self.scale)
        middles = self.middles(edges, actions)
        named = (asked @ weights).argmax(dim=1).numpy()
        base = abs(true - actions.mean()).mean()
        shares = np.bincount(placed(actions, edges), minlength=self.count) / len(actions)
        return {
            "error": float(abs(middles[named] - true).mean() / base),
            "rounding": float(abs(middles[placed(true, edges)] - true).mean() / base),
            "used": float(-(shares[shares > 0] * np.log2(shares[shares > 0])).sum()),
        }

    def edges(self, actions: np.ndarray) -> np.ndarray:
        """[count + 1] rising, the extremes of ``actions`` first and last."""
        import numpy as np
        from scipy.special import ndtr, ndtri

        least, most = actions.min(), actions.max()
        if self.bins == "uniform":
            return np.linspace(least, most, self.count + 1)
        if self.bins == "quantile":
            return np.asarray(np.quantile(actions, np.linspace(0, 1, self.count + 1)))
        mean, spread = actions.mean(), actions.std()
        shares = np.linspace(ndtr((least - mean) / spread), ndtr((most - mean) / spread), self.count + 1)
        return np.asarray(np.clip(mean + spread * ndtri(shares), least, most))

    def middles(self, edges: np.ndarray, actions: np.ndarray) -> np.ndarray:
        """What each bin means [count]."""
        import numpy as np

        middles = (edges[1:] + edges[:-1]) / 2
        if self.means:
            where = placed(actions, edges)
            sums, counts = np.bincount(where, actions, self.count), np.bincount(where, minlength=self.count)
            middles = np.where(counts > 0, sums / np.maximum(counts, 1), middles)
        return middles

    def carried(self, weights: torch.Tensor, edges: np.ndarray, old: np.ndarray, new: np.ndarray) -> torch.Tensor:
        """``weights`` [64, count] for the bins of ``new`` actions: interpolated at their middles, in deviations of each."""
        import numpy as np
        import torch

        def standard(limits: np.ndarray, actions: np.ndarray) -> np.ndarray:
            return (self.middles(limits, actions) - actions.mean()) / actions.std()

        at, known = standard(self.edges(new), new), standard(edges, old)
        return torch.from_numpy(np.stack([np.interp(at, known, row) for row in weights.double().numpy()])).float()

    def _fitted(
        self, layer: torch.Tensor, seen: torch.Tensor, actions: np.ndarray, edges: np.ndarray, steps: int, random: np.random.Generator
    ) -> torch.Tensor:
        """``layer`` [64, count] after ``steps`` of cross entropy."""
        import torch

        weights, wanted = layer.clone().requires_grad_(), torch.from_numpy(placed(actions, edges))

        def loss(step: int) -> torch.Tensor:
            rows = random.integers(0, len(seen), min(256, len(seen)))
            return torch.nn.functional.cross_entropy(seen[rows] @ weights, wanted[rows]) + 1e-4 * weights.square().sum()

        take_steps(torch.optim.Adam([weights], 0.03), loss, steps)
        return weights.detach()


def placed(actions: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """The bin of each action; what lies outside is in the first or last."""
    import numpy as np

    return np.clip(np.searchsorted(edges, actions, side="right") - 1, 0, len(edges) - 2)
