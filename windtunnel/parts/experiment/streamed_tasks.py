"""A beginning for devices that each learn a sine of their own from a few samples, one after the other."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np

Layers = list[Any]


class StreamedTasks(Experiment, name="streamed-tasks"):
    """Error on a new device's sine after ``streamed`` samples, each seen once, from weights that other devices have taught.

    Ren, Anicic and Runkler 2024, "On-device Online Learning and Semantic Management of TinyML Systems" (TinyReptile): for one device
    after the other a copy of the weights takes a step of plain gradient descent for each of ``samples`` samples, and the weights move a
    share of the way to the copy, which falls from ``share`` to nothing. It is Reptile with batches of one and one device a round; nothing
    is kept of a device. A sine has an amplitude of 0.1 to 5 and a phase of 0 to pi, on -5 to 5 (Finn et al. 2017).

    ``begin``: ``reptile``; ``joint``, where every sample moves the weights themselves; ``nearest``, ``joint`` with the steps divided by
    ten; ``random``. Rates of learning on a new device are chosen for each on other devices. ``error`` is the mean squared error over
    ``tested`` new devices after the samples, ``before`` ahead of them, ``mean`` that of always answering 0.
    """

    trial = Trial({"devices": 4, "tested": 2})

    unit: ClassVar[str] = "squared error"
    better: ClassVar[str] = "lower"

    begin: Literal["reptile", "joint", "nearest", "random"] = Field("reptile", description="where the weights come from")
    devices: int = Field(600, ge=1, description="that teach")
    samples: int = Field(32, ge=1, description="of each")
    streamed: int = Field(8, ge=1, description="of a new device")
    tested: int = Field(40, ge=1, description="new devices, and as many to choose the rate by")
    rate: float = Field(0.02, gt=0, description="of the steps on devices that teach")
    rates: tuple[float, ...] = Field(
        (0.003, 0.01, 0.02, 0.04, 0.08), min_length=1, description="of steps on new devices, of which one is chosen"
    )
    share: float = Field(0.8, gt=0, le=1, description="of the way to a device's copy that weights move at first")
    width: int = Field(32, ge=1, description="of both hidden layers")

    def measure(self, seed: int) -> dict[str, float]:
        """``error``, ``before``, ``mean`` and the chosen ``rate``."""
        import numpy as np

        random = np.random.default_rng(seed)
        sizes = (1, self.width, self.width, 1)
        weights: Layers = []
        for read, out in itertools.pairwise(sizes):
            weights += [random.standard_normal((read, out)) * np.sqrt(2 / read), np.zeros(out)]
        for device in range(self.devices if self.begin != "random" else 0):
            inputs, outputs = sine(random, self.samples)
            if self.begin == "reptile":
                copy = stream(weights, inputs, outputs, self.rate)
                share = self.share * (1 - device / self.devices)
                weights = [one + share * (other - one) for one, other in zip(weights, copy, strict=True)]
            else:
                weights = stream(weights, inputs, outputs, self.rate / (10 if self.begin == "nearest" else 1))
        choosing, tested = ([(sine(random, self.streamed, 50)) for _ in range(self.tested)] for _ in range(2))
        tried = {rate: np.mean([self._error(weights, *one, rate) for one in choosing]) for rate in self.rates}
        rate = min(tried, key=lambda one: float(np.nan_to_num(tried[one], nan=np.inf)))
        return {
            "error": float(np.mean([self._error(weights, *one, rate) for one in tested])),
            "before": float(np.mean([self._error(weights, *one, 0.0) for one in tested])),
            "mean": float(np.mean([(outputs[self.streamed :] ** 2).mean() for _, outputs in tested])),
            "rate": rate,
        }

    def _error(self, weights: Layers, inputs: np.ndarray, outputs: np.ndarray, rate: float) -> float:
        """On the samples behind those that are streamed."""
        held = stream(weights, inputs[: self.streamed], outputs[: self.streamed], rate) if rate else weights
        return float(((forward(held, inputs[self.streamed :])[-1] - outputs[self.streamed :]) ** 2).mean())


def sine(random: np.random.Generator, count: int, more: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """``count`` and ``more`` samples [N, 1] of a sine that is drawn."""
    import numpy as np

    amplitude, phase = random.uniform(0.1, 5), random.uniform(0, np.pi)
    inputs = random.uniform(-5, 5, (count + more, 1))
    return inputs, amplitude * np.sin(inputs + phase)


def forward(weights: Layers, inputs: np.ndarray) -> Layers:
    """The inputs of every layer and the outputs of the last; a rectifier stands between layers."""
    import numpy as np

    found = [inputs / 5]
    for place in range(0, len(weights), 2):
        made = found[-1] @ weights[place] + weights[place + 1]
        found.append(np.maximum(made, 0) if place + 2 < len(weights) else made)
    return found


def stream(weights: Layers, inputs: np.ndarray, outputs: np.ndarray, rate: float) -> Layers:
    """New weights after a step down the squared error of each sample, in order. The gradient's norm is cut to 10."""
    import numpy as np

    held = [one.copy() for one in weights]
    for one, wanted in zip(inputs, outputs, strict=True):
        found = forward(held, one[None])
        back = 2 * (found[-1] - wanted)
        slopes: Layers = []
        for place in range(len(held) - 2, -1, -2):
            slopes = [found[place // 2].T @ back, back[0], *slopes]
            back = (back @ held[place].T) * (found[place // 2] > 0)
        size = np.sqrt(sum(float((slope**2).sum()) for slope in slopes))
        for weight, slope in zip(held, slopes, strict=True):
            weight -= rate * min(1.0, 10 / max(size, 1e-12)) * slope
    return held
