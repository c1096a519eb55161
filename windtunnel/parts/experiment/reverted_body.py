"""The body of a network that goes back to what it was while its head goes on training, after tuning on images that are all alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, model_validator

from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    from typing import Self

    from torch import Tensor

    from windtunnel.kits.image.tiny import Weights

BODY = ("0.weight", "0.bias", "1.weight", "1.bias")


class RevertedBody(Experiment, name="reverted-body"):
    """Accuracy on images unlike those of tuning, by what happens to the body that came from varied ones.

    Dey et al. 2025, "ReVLA: Reverting Visual Domain Limitation of Robotic Foundation Models", arXiv:2409.15250. A network of two hidden
    layers has learned scikit-learn's digits turned by up to 40 degrees, dimmed and noisy; a new head has to tell groups of classes (0 to
    3, 4 to 6, 7 to 9). It is tuned on bright upright digits alone. ``body``: ``reverted``, from ``after`` to ``until`` of the steps
    weights walk back to what they were, by equal steps, and the head trains on; ``swapped``, at once, at the end; ``swapped-early``, at
    once, at ``until``, and the head trains on; ``frozen``, never tuned; ``tuned``, never taken back. The after-step `revert` does the
    same in a run. The rate is chosen by accuracy on other bright upright digits, as a head that has to follow a body, or that has nothing
    else, needs a higher one than a body that is tuned.

    Numbers are ``away``, the accuracy on varied digits, and ``alike``, that on bright upright ones.
    """

    trial = Trial({"before": 4, "steps": 4, "rates": (3e-3,)})

    unit: ClassVar[str] = "share right"
    better: ClassVar[str] = "higher"

    body: Literal["reverted", "swapped", "swapped-early", "frozen", "tuned"] = Field("reverted", description="what becomes of it")
    after: float = Field(0.3, ge=0, lt=1, description="share of the steps after which the way back begins")
    until: float = Field(0.8, gt=0, lt=1, description="share of the steps after which the body is what it was")
    before: int = Field(300, ge=1, description="steps on varied digits")
    steps: int = Field(150, ge=1, description="of tuning")
    images: int = Field(200, ge=10, le=800, description="of tuning")
    rates: tuple[float, ...] = Field((3e-3, 1e-2, 3e-2), min_length=1, description="learning rates of tuning, of which one is chosen")
    width: int = Field(64, ge=1, description="of both hidden layers")

    @model_validator(mode="after")
    def _the_way_back_has_a_length(self) -> Self:
        if self.after >= self.until:
            raise ValueError(f"after: a way back cannot begin at {self.after:g} and be over at {self.until:g}; lower it")
        return self

    def measure(self, seed: int) -> dict[str, float]:
        """``away`` and ``alike``."""
        import numpy as np
        import torch

        from windtunnel.kits.image.tiny import begun, best, classified, dealt, right, trained, turned

        random, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
        data = dealt(self.name, random)

        def varied(rows: Tensor) -> Tensor:
            parts = [
                turned(data.images[part], degrees) for part, degrees in zip(rows.chunk(5), (-40.0, -20.0, 0.0, 20.0, 40.0), strict=True)
            ]
            images = torch.cat(parts)
            dim = 0.4 + 0.6 * torch.rand(len(images), 1, generator=generator)
            return images * dim + 0.1 * torch.randn(images.shape, generator=generator)

        labels = data.labels[data.train]
        shown = torch.cat([varied(data.train) for _ in range(3)])
        first = trained(
            begun((64, self.width, self.width, 10), seed), classified(shown, labels.repeat(3)), len(shown), self.before, 3e-3, random
        )
        groups = torch.bucketize(data.labels, torch.tensor([3, 6]))  # 0 to 3, 4 to 6, 7 to 9
        head = begun((self.width, 3), seed + 1)
        begun_with = first | {"2.weight": head["0.weight"], "2.bias": head["0.bias"]}
        known = data.train[: self.images]
        only = {"2.weight", "2.bias"} if self.body == "frozen" else None

        def walked(held: Weights, step: int) -> None:
            now, then = self._way(step / self.steps), self._way((step - 1) / self.steps)
            part = 1.0 if then >= 1 else (now - then) / (1 - then)
            for name in BODY if part else ():
                held[name] += part * (first[name] - held[name])

        loss = classified(data.images[known], groups[known])

        def flown(rate: float) -> Weights:
            drawn = np.random.default_rng((seed, 1))
            found = trained(begun_with, loss, len(known), self.steps, rate, drawn, only=only, after=walked)
            return found | {name: first[name] for name in BODY if self.body == "swapped"}

        tuned = best(self.rates, flown, lambda one: right(one, data.images[data.chosen], groups[data.chosen]))
        return {
            "away": right(tuned, varied(data.held), groups[data.held]),
            "alike": right(tuned, data.images[data.held], groups[data.held]),
        }

    def _way(self, done: float) -> float:
        """The share of the way back that is walked when ``done`` of the steps are over."""
        if self.body == "swapped-early":
            return float(done >= self.until)
        return min(1.0, max(0.0, done - self.after) / (self.until - self.after)) if self.body == "reverted" else 0.0
