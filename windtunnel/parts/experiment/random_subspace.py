"""How many numbers, thrown at random onto all weights, are enough to tune a network."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, model_validator

from windtunnel.core.errors import PartError
from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import torch

    from windtunnel.kits.image.tiny import Weights


class RandomSubspace(Experiment, name="random-subspace"):
    """The least number of trained numbers with which tuning reaches nine tenths of what all weights reach, from several beginnings.

    Aghajanyan et al. 2021, "Intrinsic Dimensionality Explains the Effectiveness of Language Model Fine-Tuning", arXiv:2012.13255. All
    weights are theta_0 + P z, and z, from zero, is all that trains. P is a count sketch: each weight has one of the numbers of z, with a
    random sign, times sqrt(d / D): an isometry on average like the paper's Fastfood, without powers of two. A network of two hidden
    layers begins with weights that learned five classes of scikit-learn's digits (``pretrained``), that learned these images with
    shuffled labels (``shuffled``), or ``random`` ones, and then learns the five other classes.

    ``dimension`` is where accuracy, between ``sizes`` by straight lines over the logarithm, first reaches ``share`` of the way from chance
    (0.2) to that of all weights; it is twice the largest of ``sizes`` where it is never reached. Rates are chosen for each size on
    validation. ``whole`` is the accuracy with all weights, and ``accuracy/D`` that with D numbers.
    """

    trial = Trial({"sizes": (4, 8), "rates": (0.3,), "steps": 30, "training": 5, "width": 16})

    unit: ClassVar[str] = "trained numbers"
    better: ClassVar[str] = "lower"

    begin: Literal["pretrained", "shuffled", "random"] = Field("pretrained", description="the weights before")
    sizes: tuple[int, ...] = Field((4, 8, 16, 32, 64, 128), min_length=2, description="numbers of z that are tried, rising")
    rates: tuple[float, ...] = Field((0.1, 0.3, 1.0), min_length=1, description="learning rates of z that are tried")
    share: float = Field(0.9, gt=0, lt=1, description="of the way from chance to all weights")
    width: int = Field(64, ge=1, description="of both hidden layers")
    training: int = Field(300, ge=1, description="steps before")
    steps: int = Field(100, ge=1, description="of tuning")

    @model_validator(mode="after")
    def _rising(self) -> RandomSubspace:
        if list(self.sizes) != sorted(set(self.sizes)) or self.sizes[0] < 1:
            raise ValueError("sizes are positive and rise, such as [4, 16, 64]")
        return self

    def measure(self, seed: int) -> dict[str, float]:
        """``dimension``, ``whole`` and an accuracy for each size.

        Raises:
            PartError: where all weights learn nothing.
        """
        import numpy as np
        import torch

        from windtunnel.kits.image.tiny import begun, best, classified, dealt_halves, right, trained

        random = np.random.default_rng(seed)
        before, data = dealt_halves(self.name, random)
        first = begun((64, self.width, self.width, 5), seed)
        if self.begin != "random":
            labels = before.labels[before.train]
            if self.begin == "shuffled":
                labels = labels[torch.from_numpy(random.permutation(len(labels)))]
            first = trained(first, classified(before.images[before.train], labels), len(labels), self.training, 3e-3, random)
        first |= {name: weight for name, weight in begun((64, self.width, self.width, 5), seed + 1).items() if name.startswith("2.")}
        images, labels = data.images[data.train], data.labels[data.train]

        def judged(weights: Weights, rows: torch.Tensor) -> float:
            return right(weights, data.images[rows], data.labels[rows])

        whole = best(
            (1e-3, 3e-3, 1e-2),
            lambda rate: trained(first, classified(images, labels), len(images), self.steps, rate, random),
            lambda found: judged(found, data.chosen),
        )
        reached = judged(whole, data.held)
        if reached <= 0.3:
            raise PartError(f"{self.name}: all weights reach {reached:.2f}, where chance is 0.2; raise steps")
        found = {}
        for size in self.sizes:
            within = sketch(first, size, seed)

            def moved(rate: float, size: int = size, within: Weights = within) -> Weights:
                loss = classified(images, labels)
                tuned = trained(
                    {"z": torch.zeros(size)},
                    lambda one, rows: loss(placed(first, within, one["z"]), rows),
                    len(images),
                    self.steps,
                    rate,
                    random,
                )
                return placed(first, within, tuned["z"])

            found[size] = judged(best(self.rates, moved, lambda one: judged(one, data.chosen)), data.held)
        wanted = 0.2 + self.share * (reached - 0.2)
        return {"dimension": crossing(found, wanted), "whole": reached, **{f"accuracy/{size}": each for size, each in found.items()}}


def sketch(first: Weights, size: int, seed: int) -> Weights:
    """For each weight which of ``size`` numbers it has, from 0, and as a second tensor its sign times sqrt(size / weights)."""
    import torch

    generator, total = torch.Generator().manual_seed(seed), sum(weight.numel() for weight in first.values())
    made = {}
    for name, weight in first.items():
        made[name] = torch.randint(size, weight.shape, generator=generator)
        made[f"{name}:sign"] = (2.0 * torch.randint(2, weight.shape, generator=generator) - 1) * math.sqrt(size / total)
    return made


def placed(first: Weights, within: Weights, moved: torch.Tensor) -> Weights:
    """``first`` with the numbers ``moved`` thrown onto all of its weights."""
    return {name: weight + moved[within[name]] * within[f"{name}:sign"] for name, weight in first.items()}


def crossing(found: dict[int, float], wanted: float) -> float:
    """The size at which accuracies first reach ``wanted``, on straight lines over the logarithm; twice the largest if never."""
    sizes = list(found)
    if found[sizes[0]] >= wanted:
        return float(sizes[0])
    for low, high in itertools.pairwise(sizes):
        if found[high] >= wanted:
            part = (wanted - found[low]) / (found[high] - found[low])
            return float(math.exp(math.log(low) + part * math.log(high / low)))
    return 2.0 * sizes[-1]
