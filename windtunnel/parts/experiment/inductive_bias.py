"""How much has to be known of a task before its data, for what is learned from these to hold elsewhere."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, model_validator

from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np

JUDGED = 300  # points at which a hypothesis is judged
RIDGE = 1e-8  # of the interpolation, for its numbers alone


class InductiveBias(Experiment, name="inductive-bias"):
    """The bits that single out, among random hypotheses that fit the training data exactly, those that are right elsewhere too.

    Boopathy et al. 2024, "Towards Exact Computation of Inductive Bias", arXiv:2406.15941. A hypothesis is a random function of its space,
    corrected so that it goes through all ``examples``. The bits are -log2 of the chance that its mean squared error elsewhere, in
    variances of the task, is at most ``error``. That is far too seldom to count, so a scaled chi-squared distribution is fitted to the
    errors of ``hypotheses`` by their mean and variance, and its tail is read. ``doubt`` says what that does where counting is possible: by
    how many bits the fit is out at the error that one hypothesis in twenty stays below.

    The task is a sum of waves, one for each of the ``dimensions``. A function of the space ``network`` weighs the last layer of a random
    network at random, one of ``waves`` random Fourier features whose frequency is that of ``scale``. Both have ``width`` features.
    """

    trial = Trial({"width": 60, "examples": 20, "hypotheses": 40})

    unit: ClassVar[str] = "bits"
    better: ClassVar[str] = "lower"

    space: Literal["network", "waves"] = Field("network", description="where hypotheses come from")
    dimensions: int = Field(4, ge=1, description="numbers of an input")
    examples: int = Field(64, ge=1, description="of the training data")
    error: float = Field(0.1, gt=0, lt=1, description="what may be left elsewhere, in variances of the task")
    width: int = Field(400, ge=2, description="features; more than examples")
    scale: float = Field(1.0, gt=0, description="frequency of the waves of the space")
    hypotheses: int = Field(1000, ge=20, description="how many are drawn")

    @model_validator(mode="after")
    def _fits(self) -> InductiveBias:
        if self.width <= self.examples:
            raise ValueError(f"width: {self.width} features cannot go through {self.examples} examples in more than one way; give more")
        return self

    def measure(self, seed: int) -> dict[str, float]:
        """``bits`` and ``doubt``."""
        import numpy as np

        random = np.random.default_rng(seed)
        inputs = random.standard_normal((self.examples + JUDGED, self.dimensions))
        waves = inputs @ random.standard_normal((self.dimensions, self.dimensions)) / math.sqrt(self.dimensions)
        task = np.sin(waves + random.uniform(0, 2 * np.pi, self.dimensions)).sum(axis=1)
        task = (task - task.mean()) / task.std()
        features = self._features(inputs, random)
        known, judged = features[: self.examples], features[self.examples :]
        drawn = random.standard_normal((self.width, self.hypotheses)) / math.sqrt(self.width)
        across = known.T @ np.linalg.inv(known @ known.T + RIDGE * np.eye(self.examples))  # from what is left at the examples to weights
        weights = drawn + across @ (task[: self.examples, None] - known @ drawn)
        errors = ((judged @ weights - task[self.examples :, None]) ** 2).mean(axis=0)
        near = float(np.quantile(errors, 0.05))
        return {"bits": tail_bits(errors, self.error), "doubt": abs(tail_bits(errors, near) + math.log2(0.05))}

    def _features(self, inputs: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """[points, width], of variance about one."""
        import numpy as np

        if self.space == "waves":
            directions = self.scale * random.standard_normal((self.dimensions, self.width))
            return np.sqrt(2) * np.cos(inputs @ directions + random.uniform(0, 2 * np.pi, self.width))
        found = inputs
        for _ in range(2):
            weights, biases = random.standard_normal((found.shape[1], self.width)), random.standard_normal(self.width)
            found = np.maximum(found @ weights * math.sqrt(2 / found.shape[1]) + biases, 0)
        return found


def tail_bits(errors: np.ndarray, error: float) -> float:
    """-log2 of the chance of at most ``error`` under a scaled chi-squared distribution of the mean and variance of ``errors`` [N].

    In logarithms throughout: the chance itself is often too small for a float.
    """
    from scipy.special import gammaln, hyp1f1
    from scipy.stats import gamma

    shape = float(errors.mean() ** 2 / errors.var())
    place = error * shape / float(errors.mean())
    if place > shape:
        return float(-gamma.logcdf(place, shape)) / math.log(2)
    # The series of the lower incomplete gamma function, all of whose terms are positive.
    return float(place - shape * math.log(place) + gammaln(shape + 1) - math.log(hyp1f1(1, shape + 1, place))) / math.log(2)
