"""Weights that are a bounded function of what trains, and what they do against labels that are wrong."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    from windtunnel.kits.image.tiny import Weights


class BoundedWeights(Experiment, name="bounded-weights"):
    """Accuracy of a wide network on few images, a fifth of whose labels are wrong, by what its weights are a function of.

    Cakaj, Mehnert and Yang 2023, "Weight Compander: A Simple Weight Reparameterization for Regularization", arXiv:2306.16993: each weight
    is w = psi(v) with an odd, bounded psi that is steep at zero, and v is trained, so large weights are limited and small ones are driven
    from zero. psi(v) = a arctan(v / b), which is from memory of the paper. v begins where w is what it would be without: b tan(w / a).
    ``function``: ``none``; ``fixed`` a and b for each matrix, b = a, and a ``room`` times the largest weight at the beginning over pi /
    2; ``learned`` a and b, as their logarithms over those of the beginning.

    Decay of v, or of w without a function, is chosen on validation among ``decays`` (0 alone with ``decays: [0]``), with the rate among
    ``rates``. Numbers are ``accuracy`` on right labels, ``small``, the share of weights of matrices below 0.001, and ``largest``, the
    largest.
    """

    trial = Trial({"function": "fixed", "steps": 5, "width": 16, "rates": (0.01,), "decays": (0.0,)})

    unit: ClassVar[str] = "share right"
    better: ClassVar[str] = "higher"

    function: Literal["none", "fixed", "learned"] = Field("none", description="what weights are of what trains")
    plain: bool = Field(False, description="gradient descent with momentum in the place of AdamW")
    room: float = Field(1.5, gt=1, description="how far the bound is above the largest weight at the beginning")
    images: int = Field(200, ge=10, le=800, description="to learn from")
    wrong: float = Field(0.2, ge=0, lt=1, description="share of labels that are another")
    width: int = Field(128, ge=1, description="of both hidden layers")
    steps: int = Field(100, ge=1, description="of training")
    rates: tuple[float, ...] = Field((1e-3, 5e-3), min_length=1, description="of which one is chosen")
    decays: tuple[float, ...] = Field((0.0, 0.3, 3.0), min_length=1, description="of which one is chosen")

    def measure(self, seed: int) -> dict[str, float]:
        """``accuracy``, ``small`` and ``largest``."""
        import numpy as np
        import torch

        from windtunnel.kits.image.tiny import begun, best, dealt, right, said, trained

        random = np.random.default_rng(seed)
        data = dealt(self.name, random)
        known = data.train[: self.images]
        images, labels = data.images[known], data.labels[known]
        flipped = torch.from_numpy(random.random(len(labels)) < self.wrong)
        labels = torch.where(flipped, (labels + torch.from_numpy(random.integers(1, 10, len(labels)))) % 10, labels)
        free = self.inverse(begun((64, self.width, self.width, 10), seed))

        def loss(held: Weights, rows: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.cross_entropy(said(self.weights(held), images[rows]), labels[rows])

        def flown(setting: tuple[float, float]) -> Weights:
            made = trained(
                free, loss, len(images), self.steps, setting[0], np.random.default_rng((seed, 1)), decay=setting[1], plain=self.plain
            )
            return self.weights(made)

        pairs = [(rate, decay) for rate in self.rates for decay in self.decays]
        found = best(pairs, flown, lambda one: right(one, data.images[data.chosen], data.labels[data.chosen]))
        sizes = torch.cat([weight.abs().flatten() for name, weight in found.items() if name.endswith(".weight")])
        return {
            "accuracy": right(found, data.images[data.held], data.labels[data.held]),
            "small": float((sizes < 1e-3).float().mean()),
            "largest": float(sizes.max()),
        }

    def inverse(self, weights: Weights) -> Weights:
        """What trains, so that :meth:`weights` gives ``weights``."""
        import torch

        if self.function == "none":
            return weights
        made = {}
        for name, weight in weights.items():
            if name.endswith(".weight"):
                bound = self.room * weight.abs().max() / (math.pi / 2)
                made[name], made[f"{name}:begun"] = bound * torch.tan(weight / bound), bound
                made[f"{name}:a"], made[f"{name}:b"] = torch.zeros(()), torch.zeros(())  # so that decay leads to where they began
            else:
                made[name] = weight
        return made

    def weights(self, free: Weights) -> Weights:
        """The weights of the network from what trains."""
        import torch

        made = {}
        for name, value in free.items():
            if f"{name}:a" in free:
                begun = free[f"{name}:begun"].detach()
                bound, width = (begun * free[f"{name}:{which}"].exp() for which in ("a", "b"))
                if self.function == "fixed":
                    bound, width = bound.detach(), width.detach()
                made[name] = bound * torch.arctan(value / width)
            elif ":" not in name:
                made[name] = value
        return made
