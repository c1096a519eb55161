"""Data that come in chunks, and what the network of one chunk begins the next from."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, model_validator

from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    from typing import Self

    from torch import Tensor

    from windtunnel.kits.image.tiny import Weights


class ArrivingData(Experiment, name="arriving-data"):
    """Accuracy after the last of ``chunks`` of images, each learned together with all before it, by what training begins from.

    Deng et al. 2023, "GrowCLIP", arXiv:2308.11331: as data grow the network grows, and its weights are ``kept`` of the inherited ones and
    (1 - ``kept``) of fresh ones, which is said to lead out of the minimum that few data lead to (shrink and perturb, Ash and Adams 2020,
    arXiv:1910.08475, is the same without growth). ``begin``: ``warm``, the weights as they are; ``blended``, with fresh ones;
    ``fresh`` weights. ``grows`` doubles the hidden widths with every chunk: each hidden number is there twice and is read half, so that
    the network says the same (with a little noise that tells the two apart); without it the width is the last one from the first chunk on.

    Every chunk has ``steps`` steps, and the rate is chosen on validation, with the share kept. Numbers are ``accuracy`` on held-out
    digits and ``first``, that after the first chunk.
    """

    trial = Trial({"steps": 5, "width": 16, "images": 30, "rates": (3e-3,)})

    unit: ClassVar[str] = "share right"
    better: ClassVar[str] = "higher"

    begin: Literal["warm", "blended", "fresh"] = Field("warm", description="from what the next chunk begins")
    kept: tuple[float, ...] = Field((0.3, 0.5, 0.8), min_length=1, description="shares of the inherited weights, of which one is chosen")
    grows: bool = Field(False, description="whether widths double with every chunk")
    chunks: int = Field(3, ge=2, le=5, description="of images")
    images: int = Field(150, ge=10, le=800, description="of all chunks together")
    width: int = Field(64, ge=2, description="of both hidden layers at the end")
    steps: int = Field(200, ge=1, description="of each chunk")
    rates: tuple[float, ...] = Field((1e-3, 3e-3, 1e-2), min_length=1, description="learning rates, of which one is chosen")

    @model_validator(mode="after")
    def _width_halves(self) -> Self:
        if self.grows and self.width % 2 ** (self.chunks - 1):
            raise ValueError(f"width: {self.width} cannot be halved {self.chunks - 1} times, once for each chunk before the last")
        return self

    def measure(self, seed: int) -> dict[str, float]:
        """``accuracy`` and ``first``."""
        import numpy as np

        from windtunnel.kits.image.tiny import begun, best, classified, dealt, right, trained

        data = dealt(self.name, np.random.default_rng(seed))

        def flown(setting: tuple[float, float]) -> tuple[Weights, Weights]:
            rate, kept = setting
            random = np.random.default_rng((seed, 1))
            weights: Weights = {}
            early: Weights = {}
            for chunk in range(self.chunks):
                width = self.width >> (self.chunks - 1 - chunk) if self.grows else self.width
                fresh = begun((64, width, width, 10), seed + 1000 * chunk)
                if not weights or self.begin == "fresh":
                    weights = fresh
                else:
                    weights = doubled(weights, seed + chunk) if self.grows else weights
                    share = kept if self.begin == "blended" else 1.0
                    weights = {name: share * weight + (1 - share) * fresh[name] for name, weight in weights.items()}
                known = data.train[: self.images * (chunk + 1) // self.chunks]
                loss = classified(data.images[known], data.labels[known])
                weights = trained(weights, loss, len(known), self.steps, rate, random)
                early = early or weights
            return weights, early

        def judged(one: Weights, rows: Tensor) -> float:
            return right(one, data.images[rows], data.labels[rows])

        tried = [(rate, kept) for rate in self.rates for kept in (self.kept if self.begin == "blended" else (1.0,))]
        last, first = best(tried, flown, lambda one: judged(one[0], data.chosen))
        return {"accuracy": judged(last, data.held), "first": judged(first, data.held)}


def doubled(weights: Weights, seed: int) -> Weights:
    """A network of two hidden layers of twice the width that says the same, but for noise of a hundredth in what reads copies."""
    import torch

    generator, made = torch.Generator().manual_seed(seed), {}
    for place in range(3):
        weight, bias = weights[f"{place}.weight"], weights[f"{place}.bias"]
        if place:
            weight = torch.cat([weight, weight], dim=1) / 2
        if place < 2:
            weight, bias = torch.cat([weight, weight]), torch.cat([bias, bias])
        if place:
            half = weight.shape[1] // 2
            noise = 0.01 * weight.std() * torch.randn(len(weight), half, generator=generator)
            weight = weight + torch.cat([noise, -noise], dim=1)
        made[f"{place}.weight"], made[f"{place}.bias"] = weight, bias
    return made
