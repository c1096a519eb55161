"""How well a model is said to do by patches of a map that were held out at random, and in whole blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import Field, model_validator

from windtunnel.core.errors import needing
from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np

CAUSES = 3  # fields that the class depends on; as many are of the place alone
HELD = 0.25  # of patches or blocks


class SpatialSplit(Experiment, name="spatial-split"):
    """By how much the accuracy that a split tells is off what a model has on another map.

    Clasen et al. 2024, arXiv:2407.03653 (reBEN), hold out whole blocks of a map, so that patches that are judged have no neighbours that
    were trained on. Here a map of ``side`` by ``side`` patches has smooth fields (noise over which a window of ``smooth`` patches is
    averaged). A patch shows ``CAUSES`` fields that its class, one of four, depends on, and as many that say only where it is, all with
    ``noise``; a part of the class is a smooth field that no patch shows. So what is near looks alike and has one class for reasons that
    hold nowhere else. ``other_map`` is the accuracy, trained on the same patches, on a new map of the same rule, ``off`` the difference
    of both without its sign. ``smooth: 1`` is a map without neighbours that are alike, a control.
    """

    trial = Trial({"side": 12, "block": 3, "smooth": 3})

    unit: ClassVar[str] = "share right"
    better: ClassVar[str] = "lower"

    split: Literal["random", "blocks"] = Field("random", description="what is held out: patches, or whole blocks of them")
    model: Literal["neighbours", "logistic"] = Field("neighbours", description="what is trained: five nearest neighbours, or a regression")
    side: int = Field(48, ge=8, description="patches on a side of the map")
    block: int = Field(8, ge=2, description="patches on a side of a block")
    smooth: int = Field(7, ge=1, description="patches on a side of the window that fields are averaged over")
    noise: float = Field(0.3, ge=0, description="deviation of what a patch shows, of fields of deviation 1")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.block >= self.side:
            raise ValueError(f"block: one block of {self.block} patches is the whole map of {self.side}; take a smaller one")
        return self

    def measure(self, seed: int) -> dict[str, float]:
        """``off``, ``accuracy`` (as the split tells it) and ``other_map``.

        Raises:
            UserError: where scikit-learn is missing.
        """
        import numpy as np

        with needing(self.name, "scikit-learn", "vision"):
            from sklearn.linear_model import LogisticRegression
            from sklearn.neighbors import KNeighborsClassifier
        random = np.random.default_rng(seed)
        rule = random.standard_normal((CAUSES, 2))
        (shown, classes), (others, wanted) = (self._map(rule, random) for _ in range(2))
        held = held_out(self.side, self.block if self.split == "blocks" else 1, random)
        model = KNeighborsClassifier(5) if self.model == "neighbours" else LogisticRegression(max_iter=500)
        model.fit(shown[~held], classes[~held])
        told, true = float(model.score(shown[held], classes[held])), float(model.score(others, wanted))
        return {"off": abs(told - true), "accuracy": told, "other_map": true}

    def _map(self, rule: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """What patches show [patches, fields], and their classes [patches]: the quarter of the plane that two sums of fields lie in."""
        import numpy as np

        fields = np.stack([smooth_field(self.side, self.smooth, random).ravel() for _ in range(2 * CAUSES + 2)], axis=1)
        sums = fields[:, :CAUSES] @ rule + fields[:, 2 * CAUSES :]
        shown = fields[:, : 2 * CAUSES] + self.noise * random.standard_normal((len(fields), 2 * CAUSES))
        return shown, 2 * (sums[:, 0] > 0) + (sums[:, 1] > 0)


def smooth_field(side: int, window: int, random: np.random.Generator) -> np.ndarray:
    """Gaussian noise averaged over windows of a map that goes on at the other side, of mean 0 and deviation 1: [side, side]."""
    import numpy as np

    field = random.standard_normal((side, side))
    for axis in (0, 1):
        field = np.sum([np.roll(field, shift, axis) for shift in range(window)], axis=0)
    found: np.ndarray = (field - field.mean()) / field.std()
    return found


def held_out(side: int, block: int, random: np.random.Generator) -> np.ndarray:
    """Which patches are held out, bool [side * side]: those of blocks drawn at random, as many as are a share of :data:`HELD`."""
    import numpy as np

    across = -(-side // block)
    chosen = np.zeros(across * across, bool)
    chosen[random.permutation(len(chosen))[: round(HELD * len(chosen))]] = True
    found: np.ndarray = np.kron(chosen.reshape(across, across), np.ones((block, block), bool))[:side, :side].ravel()
    return found
