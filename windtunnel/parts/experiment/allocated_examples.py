"""How many examples to show in context, when each costs and queries differ in difficulty."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.kits.ridge import ridge
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np

GRID = (0, 1, 2, 4, 8, 16)  # examples that may be shown
HARDEST = 8  # numbers of an input
CLUES = 16  # numbers that a query's difficulty can be read from, with noise
NEAR = 0.2  # an answer that is no further from the right one is right
TRAINED, JUDGED = 1000, 2000  # queries


class AllocatedExamples(Experiment, name="allocated-examples"):
    """The share of queries that are answered rightly where so many examples in context are paid for, evenly or by what each query needs.

    Zhou et al. 2023, "Efficient Prompting via Dynamic In-Context Learning", arXiv:2305.11170. A query is a regression of 1 to 8 numbers,
    its difficulty, which can be read with noise from other numbers that come with it. ``learner`` answers from the examples shown: by
    ridge regression on the numbers that matter, as a model that has learned to learn in context does, or by the nearest example. A
    controller (a multinomial regression) learns on other queries which is the least number of examples that ``taught_by`` answers rightly
    with.

    ``allocation``: ``even`` shows ``shown`` examples for every query; ``controller`` as many as it expects to be needed, ``shuffled`` these
    numbers dealt out to other queries, ``known`` what is truly needed, each scaled so that the mean is ``shown`` at most. The numbers are
    ``right`` and ``used``, the mean of examples shown. It needs scikit-learn.
    """

    trial = Trial({"allocation": "controller"})

    unit: ClassVar[str] = "share right"
    better: ClassVar[str] = "higher"

    allocation: Literal["even", "controller", "shuffled", "known"] = Field("even", description="which query gets how many examples")
    shown: int = Field(4, ge=1, le=16, description="examples that a query may have in the mean")
    learner: Literal["ridge", "nearest"] = Field("ridge", description="how the model answers from examples")
    taught_by: Literal["ridge", "nearest"] = Field("ridge", description="whose answers the controller learns from")
    noise: float = Field(0.05, ge=0, description="standard deviation of what the examples say")

    def measure(self, seed: int) -> dict[str, float]:
        """``right`` and ``used``. Raises UserError where scikit-learn is missing."""
        import numpy as np

        from windtunnel.core.errors import needing

        with needing("allocated-examples", "scikit-learn", "vision"):
            from sklearn.linear_model import LogisticRegression
        random = np.random.default_rng(seed)
        places = random.standard_normal((HARDEST, CLUES))
        clues, right, needed = zip(*(self._queries(count, places, random) for count in (TRAINED, JUDGED)), strict=True)
        controller = LogisticRegression(max_iter=300).fit(clues[0], needed[0])
        odds = controller.predict_proba(clues[1])
        wanted = odds @ np.array(GRID)[controller.classes_]
        if self.allocation == "shuffled":
            wanted = random.permutation(wanted)
        elif self.allocation == "known":
            wanted = np.array(GRID)[needed[1]].astype(float)
        elif self.allocation == "even":
            wanted = np.full(JUDGED, float(self.shown))
        given = self._afforded(wanted)
        return {"right": float(right[1][self.learner][np.arange(JUDGED), given].mean()), "used": float(np.array(GRID)[given].mean())}

    def _queries(self, count: int, places: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, dict[str, np.ndarray], np.ndarray]:
        """What is seen of each query, whether each learner is right with each number of examples, and what the controller is taught.

        That is the least number that is enough; a query that is never answered rightly is worth no examples.
        """
        import numpy as np

        hard = random.integers(1, HARDEST + 1, size=count)
        clues = places[hard - 1] + random.standard_normal((count, CLUES))
        right = {name: np.zeros((count, len(GRID)), bool) for name in ("ridge", "nearest")}
        for query, width in enumerate(hard):
            weights = random.standard_normal(width) / np.sqrt(width)
            inputs, asked = random.standard_normal((GRID[-1], width)), random.standard_normal(width)
            outputs = inputs @ weights + self.noise * random.standard_normal(GRID[-1])
            for number, shown in enumerate(GRID):
                x, y = inputs[:shown], outputs[:shown]
                fitted = ridge(x, y, max(self.noise**2, 1e-6) * width)
                nearest = y[np.argmin(((x - asked) ** 2).sum(axis=1))] if shown else 0.0
                for name, answer in (("ridge", asked @ fitted), ("nearest", nearest)):
                    right[name][query, number] = abs(answer - asked @ weights) <= NEAR
        taught = right[self.taught_by]
        return clues, right, np.where(taught.any(axis=1), taught.argmax(axis=1), 0)

    def _afforded(self, wanted: np.ndarray) -> np.ndarray:
        """The place in the grid of what each query gets: ``wanted`` times the largest factor that the mean allows."""
        import numpy as np

        grid = np.array(GRID)
        for factor in np.linspace(4, 0, 401):
            given = np.searchsorted(grid, wanted * factor + 1e-9, side="right") - 1
            if grid[given].mean() <= self.shown:
                break
        found: np.ndarray = given
        return found
