"""Exact Bayesian inference over two tasks in a row, where everything is a formula."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np


class PosteriorSequence(Experiment, name="posterior-sequence"):
    """How much linear regression forgets of a task when the posterior after it is the prior of the next.

    Kessler et al. 2023, "On Sequential Bayesian Inference for Continual Learning", arXiv:2301.01828: inference that is right does not
    save a model that is wrong. Here weights have a Gaussian prior and posteriors are exact, so inference in sequence is inference over both
    tasks at once. Where the tasks follow other weights (``different``) and the model has one set for both, the second task pulls it away
    all the same, the more so the more examples it has; where the model is ``told`` the task and has weights for each, it does not.

    ``posterior`` is kept ``exact``, or only the ``diagonal`` of its precision is, as penalties on important weights do; ``joint`` sees both
    tasks at once. ``forgetting`` is by how much the squared error on the first task has risen through the second, in variances of the
    noise; ``gap`` is the distance of the weights from those of ``joint``.
    """

    trial = Trial({"width": 3})

    unit: ClassVar[str] = "variances of the noise"

    tasks: Literal["shared", "different"] = Field("different", description="whether both tasks follow the same weights")
    told: bool = Field(False, description="whether the model knows the task, and has weights for each beside those for both")
    posterior: Literal["exact", "diagonal", "joint"] = Field("exact", description="what is kept of the first task")
    first: int = Field(40, ge=1, description="examples of the first task")
    second: int = Field(40, ge=1, description="examples of the second")
    width: int = Field(10, ge=1, description="weights")
    noise: float = Field(0.5, gt=0, description="standard deviation of the noise")

    def measure(self, seed: int) -> dict[str, float]:
        """``forgetting`` and ``gap``."""
        import numpy as np

        random = np.random.default_rng(seed)
        truth = random.standard_normal((2, self.width))
        if self.tasks == "shared":
            truth[1] = truth[0]
        inputs = [random.standard_normal((count, self.width)) for count in (self.first, self.second)]
        outputs = [rows @ truth[task] + self.noise * random.standard_normal(len(rows)) for task, rows in enumerate(inputs)]
        seen = [self._known(rows, task) for task, rows in enumerate(inputs)]
        began = np.eye(seen[0].shape[1]), np.zeros(seen[0].shape[1])
        after_one = self._learned(*began, seen[0], outputs[0])
        kept = (np.diag(np.diag(after_one[0])), after_one[1]) if self.posterior == "diagonal" else after_one
        after_two = self._learned(*kept, seen[1], outputs[1])
        joint = self._learned(*began, np.concatenate(seen), np.concatenate(outputs))
        if self.posterior == "joint":
            after_two = joint
        held = random.standard_normal((2000, self.width))
        errors = [float(((self._known(held, 0) @ mean - held @ truth[0]) ** 2).mean()) for _, mean in (after_one, after_two)]
        return {"forgetting": (errors[1] - errors[0]) / self.noise**2, "gap": float(np.linalg.norm(after_two[1] - joint[1]))}

    def _known(self, rows: np.ndarray, task: int) -> np.ndarray:
        """What the model sees of ``rows``: themselves, and where it is told, again in the place of their task."""
        import numpy as np

        return np.concatenate([rows, rows * (task == 0), rows * (task == 1)], axis=1) if self.told else rows

    def _learned(self, precision: np.ndarray, mean: np.ndarray, rows: np.ndarray, outputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Precision and mean of the weights after examples."""
        import numpy as np

        after = precision + rows.T @ rows / self.noise**2
        return after, np.linalg.solve(after, precision @ mean + rows.T @ outputs / self.noise**2)
