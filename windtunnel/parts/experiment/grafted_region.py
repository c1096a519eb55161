"""The few weights of a fine-tuned model that hold what tuning taught it."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from windtunnel.core.errors import PartError
from windtunnel.core.trial import Trial
from windtunnel.kits.optim.descent import take_steps
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np
    import torch

Weights = dict[str, Any]
STAY = 10.0  # a mask is the sigmoid of its score less this, so that a weight hardly ever changes sides
BINS = 10  # of confidence


class GraftedRegion(Experiment, name="grafted-region"):
    """What of fine-tuning is left where a share of the weights alone is taken from the tuned model, and the others stay pre-trained.

    Panigrahi et al. 2023, "Task-Specific Skill Localization in Fine-tuned Language Models", arXiv:2302.06600. A network of two layers
    learns handwritten digits, and is then tuned by plain gradient descent on the same ones turned by a quarter. ``region: top`` are the
    weights that have moved furthest, ``random`` any; ``learned`` begins with ``top`` and moves a mask along the gradient of the loss of the
    grafted model, as the authors' code does: mask = base + (1 - 2 base) sigmoid(score - 10), the best rounded one on the training
    images after any epoch is kept.

    ``recovered`` is the accuracy of the grafted model on held-out turned digits, as a share of the way from the pre-trained one (0) to the
    tuned one (1); ``recovered/furthest`` is that with as many weights that have moved furthest, since a learned region may be larger or
    smaller than what it begins with. ``accuracy`` and ``tuned`` are those of the grafted and the tuned model, ``calibration_error`` and
    ``calibration_error/tuned`` how far confidence is from accuracy, in ten bins of confidence, and ``density`` the share of weights taken.
    """

    trial = Trial({"density": 0.1, "width": 16, "steps": 60, "tuning": 60, "rate": 0.3, "epochs": 1})

    unit: ClassVar[str] = "share of what tuning gained"
    better: ClassVar[str] = "higher"

    region: Literal["learned", "top", "random"] = Field("learned", description="which weights are taken from the tuned model")
    density: float = Field(0.01, gt=0, le=1, description="share of the weights that top and random take, and learned begins with")
    width: int = Field(128, ge=1, description="of both hidden layers")
    steps: int = Field(300, ge=1, description="of pre-training, with Adam")
    tuning: int = Field(300, ge=1, description="steps of tuning, with plain gradient descent")
    rate: float = Field(0.05, gt=0, description="of tuning")
    mask_rate: float = Field(1e7, gt=0, description="of the scores; slopes of the sigmoid are about 5e-5 there")
    epochs: int = Field(10, ge=1, description="of learning the mask, each of 20 steps")

    def measure(self, seed: int) -> dict[str, float]:
        """The numbers above; ``recovered`` is the first.

        Raises:
            UserError: where scikit-learn is missing.
            PartError: where tuning has gained nothing.
        """
        import numpy as np
        import torch
        from torch import nn
        from torch.func import functional_call

        from windtunnel.kits.image.digits import digits

        found, random = digits(self.name), np.random.default_rng(seed)
        images, labels = torch.tensor(found.images / 16, dtype=torch.float32), torch.tensor(found.target)
        held = torch.tensor(random.random(len(labels)) < 0.3)
        upright, turned = images.flatten(1), images.rot90(1, (1, 2)).flatten(1)
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(seed)
            sizes = (64, self.width, self.width)
            hidden = [layer for read, made in pairwise(sizes) for layer in (nn.Linear(read, made), nn.ReLU())]
            model = nn.Sequential(*hidden, nn.Linear(self.width, 10))
            first = self._fit(model, upright[~held], labels[~held], torch.optim.Adam(model.parameters(), 1e-3), self.steps, random)
            tuned = self._fit(model, turned[~held], labels[~held], torch.optim.SGD(model.parameters(), self.rate), self.tuning, random)
            taken = self._region(model, first, tuned, turned[~held], labels[~held], random)
        as_many = furthest(first, tuned, max(1, int(sum(mask.sum() for mask in taken.values()))))
        said = []
        with torch.no_grad():
            for weights in (first, grafted(first, tuned, taken), grafted(first, tuned, as_many), tuned):
                shares = functional_call(model, weights, (turned[held],)).softmax(dim=1)
                said.append(calibration(shares.numpy(), labels[held].numpy()))
        (before, _), (accuracy, error), (of_furthest, _), (after, error_tuned) = said
        if (gained := after - before) <= 0:
            raise PartError(f"{self.name}: tuning gained nothing ({before:.3f} before, {after:.3f} after); raise tuning or rate")
        return {
            "recovered": (accuracy - before) / gained,
            "recovered/furthest": (of_furthest - before) / gained,
            "accuracy": accuracy,
            "tuned": after,
            "calibration_error": error,
            "calibration_error/tuned": error_tuned,
            "density": float(sum(mask.sum() for mask in taken.values()) / sum(mask.numel() for mask in taken.values())),
        }

    def _fit(self, model: Any, inputs: Any, labels: Any, optimizer: Any, steps: int, random: np.random.Generator) -> Weights:
        """The weights after so many steps of 32 images."""
        import torch

        def loss(step: int) -> torch.Tensor:
            chosen = torch.from_numpy(random.integers(len(inputs), size=32))
            return torch.nn.functional.cross_entropy(model(inputs[chosen]), labels[chosen])

        take_steps(optimizer, loss, steps)
        return {name: weight.detach().clone() for name, weight in model.named_parameters()}

    def _region(self, model: Any, first: Weights, tuned: Weights, inputs: Any, labels: Any, random: np.random.Generator) -> Weights:
        """Which weights are taken: 1 or 0, by name."""
        import torch
        from torch.func import functional_call

        count = max(1, round(self.density * sum(weight.numel() for weight in first.values())))
        if self.region == "random":
            return largest({name: torch.from_numpy(random.random(tuple(weight.shape))) for name, weight in first.items()}, count)
        base = furthest(first, tuned, count)
        if self.region == "top":
            return base
        moving = {name: torch.rand_like(weight).requires_grad_() for name, weight in first.items()}

        def mask() -> Weights:
            return {name: base[name] + (1 - 2 * base[name]) * torch.sigmoid(moving[name] - STAY) for name in base}

        best, highest = base, float("-inf")
        for epoch in range(self.epochs + 1):
            with torch.no_grad():
                rounded = {name: value.round() for name, value in mask().items()}
                right = float((functional_call(model, grafted(first, tuned, rounded), (inputs,)).argmax(dim=1) == labels).float().mean())
            if right > highest:
                best, highest = rounded, right
            for _ in range(20 if epoch < self.epochs else 0):
                chosen = torch.from_numpy(random.integers(len(inputs), size=256))
                said = functional_call(model, grafted(first, tuned, mask()), (inputs[chosen],))
                slopes = torch.autograd.grad(torch.nn.functional.cross_entropy(said, labels[chosen]), list(moving.values()))
                with torch.no_grad():
                    for score, slope in zip(moving.values(), slopes, strict=True):
                        score -= self.mask_rate * slope
        return best


def furthest(first: Weights, tuned: Weights, count: int) -> Weights:
    """1 at the ``count`` weights that tuning has moved furthest, in all tensors together; else 0."""
    return largest({name: (tuned[name] - first[name]).abs() for name in first}, count)


def largest(scores: Weights, count: int) -> Weights:
    """1 at the ``count`` largest numbers of all, and at those equal to the least of them; else 0."""
    import torch

    least = torch.cat([score.flatten() for score in scores.values()]).topk(count).values[-1]
    return {name: (score >= least).float() for name, score in scores.items()}


def grafted(first: Weights, tuned: Weights, mask: Weights) -> dict[str, torch.Tensor]:
    """``first`` where the mask is 0, ``tuned`` where it is 1."""
    return {name: first[name] + mask[name] * (tuned[name] - first[name]) for name in first}


def calibration(shares: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """The accuracy of probabilities [N, classes], and the expected error of their confidence."""
    import numpy as np

    sure, right = shares.max(axis=1), shares.argmax(axis=1) == labels
    place = np.minimum((sure * BINS).astype(int), BINS - 1)
    apart = np.bincount(place, right, BINS) - np.bincount(place, sure, BINS)
    return float(right.mean()), float(np.abs(apart).sum() / len(labels))
