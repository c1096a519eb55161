"""A low-rank update for a new task whose ranks are chosen by the weights that they get, and what it does to the old task."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, model_validator

from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    from typing import Self

    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]


class SelectedRanks(Experiment, name="selected-ranks"):
    """Errors on a new and on an old linear task after an update of low rank, by how its rank is chosen.

    Lu et al. 2024, "Adaptive Rank, Reduced Forgetting", arXiv:2412.01004 (CoDyRA): W + sum_i w_i b_i a_i with an importance w_i for each
    rank; after half of the steps, in which all are kept, importances become smaller by a threshold that rises to ``threshold`` times the
    rate and those below it zero, and what is left is merged into W. ``ranks``: ``selected``, so; ``outward``, as in a public port, which
    moves those that are left away from zero by the threshold; ``all`` of them; ``cut``, all, and in the end the truncated decomposition
    with as many as ``selected`` leaves for the seed; ``true``, as many as the task needs.

    W is right on inputs of the old task; the new one needs a change of rank ``needed`` for inputs that lie in another subspace, of which
    ``shared`` dimensions are the old one's too. Training is by gradient descent on outputs with noise. ``error`` is on new inputs of the
    new task, relative to no update; ``old``, on those of the old one, relative to the size of its outputs; ``rank``, how many are left.
    """

    trial = Trial({"steps": 20, "width": 12, "inside": 6, "shared": 2, "inputs": 20})

    unit: ClassVar[str] = "share of the error before"
    better: ClassVar[str] = "lower"

    ranks: Literal["selected", "outward", "all", "cut", "true"] = Field("selected", description="which ranks an update has")
    rank: int = Field(16, ge=1, description="of the update at first")
    needed: int = Field(4, ge=1, description="of what the new task needs")
    threshold: float = Field(0.3, ge=0, description="below which an importance is zero in the end, in rates of a step")
    width: int = Field(48, ge=2, description="numbers of inputs and outputs")
    inside: int = Field(24, ge=1, description="dimensions of the inputs of a task")
    shared: int = Field(12, ge=0, description="of these that both tasks have")
    inputs: int = Field(80, ge=1, description="of the new task to learn from")
    noise: float = Field(0.5, ge=0, description="of outputs that are learned from")
    steps: int = Field(400, ge=2, description="of gradient descent")
    rates: tuple[float, ...] = Field((0.02, 0.05, 0.15), min_length=1, description="of which one is chosen")

    @model_validator(mode="after")
    def _tasks_have_room(self) -> Self:
        from windtunnel.kits.subspaces import refuse_crowded

        refuse_crowded(self.inside, self.shared, self.width)
        return self

    def measure(self, seed: int) -> dict[str, float]:
        """``error``, ``old`` and ``rank``."""
        import numpy as np

        from windtunnel.kits.subspaces import subspaces

        random, size = np.random.default_rng(seed), self.width
        old, new = subspaces(self.inside, self.shared, size, random)
        first = random.standard_normal((size, size)) / size**0.5
        change = random.standard_normal((size, self.needed)) @ random.standard_normal((self.needed, new.shape[1])) @ new.T
        change *= size**0.5 / np.linalg.norm(change) / 2
        shown, chosen, held = (random.standard_normal((count, new.shape[1])) @ new.T for count in (self.inputs, 100, 300))
        wanted = shown @ change.T + self.noise * random.standard_normal((self.inputs, size)) * np.std(shown @ change.T)

        def flown(way: str, rate: float) -> tuple[Array, int]:
            rank = self.needed if way == "true" else self.rank
            return self._trained(shown, wanted, rank, way, rate, np.random.default_rng((seed, 1)))

        def best(way: str) -> tuple[Array, int]:
            tried = [flown(way, rate) for rate in self.rates]
            return min(tried, key=lambda one: float(np.nan_to_num(((chosen @ (one[0] - change).T) ** 2).sum(), nan=np.inf)))

        found, rank = best("all" if self.ranks == "cut" else self.ranks)
        if self.ranks == "cut":
            rank = best("selected")[1]
            left, sizes, right = np.linalg.svd(found)
            found = (left[:, :rank] * sizes[:rank]) @ right[:rank]
        before = random.standard_normal((300, old.shape[1])) @ old.T
        return {
            "error": float(((held @ (found - change).T) ** 2).sum() / ((held @ change.T) ** 2).sum()),
            "old": float(((before @ found.T) ** 2).sum() / ((before @ first.T) ** 2).sum()),
            "rank": float(rank),
        }

    def _trained(self, shown: Array, wanted: Array, rank: int, way: str, rate: float, random: np.random.Generator) -> tuple[Array, int]:
        """The update [out, in] and its rank. Columns and rows have a length of about one at first; importances begin small."""
        import numpy as np

        rows = random.standard_normal((rank, shown.shape[1])) / shown.shape[1] ** 0.5
        columns = 0.1 * random.standard_normal((wanted.shape[1], rank)) / wanted.shape[1] ** 0.5
        weights = np.ones(rank)
        for step in range(self.steps):
            inner = shown @ rows.T
            off = ((inner * weights) @ columns.T - wanted) / len(shown)
            of_columns, back = off.T @ (inner * weights), off @ columns
            of_weights, of_rows = (inner * back).sum(axis=0), (back * weights).T @ shown
            columns, rows = columns - rate * of_columns, rows - rate * of_rows
            if way not in ("selected", "outward"):
                continue
            weights = weights - rate * of_weights
            if step >= self.steps // 2:
                least = rate * self.threshold * (step - self.steps // 2 + 1) / (self.steps - self.steps // 2)
                kept = np.abs(weights) > least
                weights = np.where(kept, weights + (1 if way == "outward" else -1) * np.sign(weights) * least, 0.0)
        return np.asarray((columns * weights) @ rows), int((weights != 0).sum())
