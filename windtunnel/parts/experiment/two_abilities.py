"""Two models of one ancestor, one tuned a little and one trained on at length, and what becomes of both abilities in one model."""

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

COEFFICIENTS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25)  # of either difference, of which a grid chooses two


class TwoAbilities(Experiment, name="two-abilities"):
    """The higher of the errors on two linear tasks, by how a short tuning and a long training come together in one matrix.

    An ancestor W learns by gradient descent. ``tuned`` is W after a small change that inputs of the first task need (what a tuning to
    follow instructions does), ``continued`` W after a change that is ``larger`` times as long, for inputs of the second; the inputs of
    the tasks share ``shared`` of their dimensions, in which what one task needs is wrong for the other. ``way``:

    - ``sum``: ancestor and both differences, which is the instruction residual of Jindal et al. 2024, arXiv:2410.10739.
    - ``average``: half of each; ``grid``: the best two of six coefficients each, on other inputs.
    - ``elected``: TIES (Yadav et al. 2023) of the largest fifth; ``shift-ranks``: WIDEN (Yu et al. 2024, arXiv:2408.03092), where each
      column counts by the rank of its shift.
    - ``random``: ``sum`` with a random difference as long as the tuning's.
    - ``onward``: the long training of the tuned model; ``alone``: that of the ancestor; ``redone``: the tuning after it.

    Errors are relative to those of the ancestor: ``worse`` the higher one, ``tuned`` and ``continued`` those of the tasks. ``cosine`` is
    that between the differences.
    """

    trial = Trial({"width": 12, "inside": 6, "shared": 1, "inputs": 20, "steps": 20})

    unit: ClassVar[str] = "share of the error before"
    better: ClassVar[str] = "lower"

    way: Literal["sum", "average", "grid", "elected", "shift-ranks", "random", "onward", "alone", "redone"] = Field(
        "sum", description="how the two come together"
    )
    larger: float = Field(10.0, gt=0, description="times as long is the change of the second task as that of the first")
    width: int = Field(48, ge=2, description="numbers of inputs and outputs")
    inside: int = Field(24, ge=1, description="dimensions of the inputs of a task")
    shared: int = Field(0, ge=0, description="of these that both tasks have")
    inputs: int = Field(200, ge=1, description="of each task to learn from")
    noise: float = Field(0.2, ge=0, description="of outputs that are learned from, by their deviation")
    steps: int = Field(300, ge=1, description="of the long training; the tuning has a fifth")
    rate: float = Field(0.3, gt=0, description="of gradient descent")

    @model_validator(mode="after")
    def _tasks_have_room(self) -> Self:
        from windtunnel.kits.subspaces import refuse_crowded

        refuse_crowded(self.inside, self.shared, self.width)
        return self

    def measure(self, seed: int) -> dict[str, float]:
        """``worse`` and the others above."""
        import numpy as np

        from windtunnel.kits.subspaces import subspaces

        random, size = np.random.default_rng(seed), self.width
        places = subspaces(self.inside, self.shared, size, random)
        first = random.standard_normal((size, size)) / size**0.5
        tasks = []
        for place, long in zip(places, (0.3, 0.3 * self.larger), strict=True):
            change = random.standard_normal((size, place.shape[1])) @ place.T
            change *= long * np.linalg.norm(first) / np.linalg.norm(change)
            given, chosen, held = (random.standard_normal((count, place.shape[1])) @ place.T for count in (self.inputs, 100, 300))
            wanted = given @ change.T
            tasks.append((change, given, wanted + self.noise * wanted.std() * random.standard_normal(wanted.shape), chosen, held))

        def taught(moved: Array, task: int, steps: int) -> Array:
            """What has been added to the ancestor after gradient descent on a task."""
            _, given, wanted, _, _ = tasks[task]
            for _ in range(steps):
                moved = moved - self.rate * (given @ moved.T - wanted).T @ given / len(given)
            return moved

        nothing, short = np.zeros((size, size)), max(1, self.steps // 5)
        moved = taught(nothing, 0, short), taught(nothing, 1, self.steps)
        cosine = float((moved[0] * moved[1]).sum() / (np.linalg.norm(moved[0]) * np.linalg.norm(moved[1])))

        def errors(found: Array, which: int) -> list[float]:
            return [float(((task[which] @ (found - task[0]).T) ** 2).sum() / ((task[which] @ task[0].T) ** 2).sum()) for task in tasks]

        if self.way == "onward":
            found = taught(moved[0], 1, self.steps)
        elif self.way == "redone":
            found = taught(moved[1], 0, short)
        elif self.way == "grid":
            found = min(
                (one * moved[0] + two * moved[1] for one in COEFFICIENTS for two in COEFFICIENTS), key=lambda one: max(errors(one, 3))
            )
        else:
            found = self._merged(first, moved, random)
        tuned, continued = errors(found, 4)
        return {"worse": max(tuned, continued), "tuned": tuned, "continued": continued, "cosine": cosine}

    def _merged(self, first: Array, moved: tuple[Array, Array], random: np.random.Generator) -> Array:
        import numpy as np
        import torch

        from windtunnel.kits.weights.deltas import by_shift_ranks, elected

        if self.way in ("elected", "shift-ranks"):
            base, *deltas = (torch.from_numpy(each) for each in (first, *moved))
            return np.asarray((elected(deltas, 0.2) if self.way == "elected" else by_shift_ranks(base, deltas)).numpy())
        if self.way == "random":
            noise = random.standard_normal(first.shape)
            return np.asarray(noise * np.linalg.norm(moved[0]) / np.linalg.norm(noise) + moved[1])
        one, two = {"average": (0.5, 0.5), "alone": (0.0, 1.0)}.get(self.way, (1.0, 1.0))
        return np.asarray(one * moved[0] + two * moved[1])
