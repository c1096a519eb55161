"""A tower of names tuned on a few classes, and what becomes of classes of which only the names are known."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from windtunnel.kits.image.tiny import Weights


class InventedFeatures(Experiment, name="invented-features"):
    """The harmonic mean of accuracies on classes that tuning has images of and on classes of which it knows names, after long tuning.

    Zang et al. 2024, "Overcoming the Pitfalls of Vision-Language Model Finetuning for OOD Generalization", arXiv:2401.15914 (OGEN). Image
    features are principal components of scikit-learn's digits, of length 1; a name is the mean feature of its class, moved by noise. The
    tower of names is a matrix, the identity at first, which tuning on ``shots`` images of five classes changes, in the place of the
    paper's prompt. ``guards``: ``nothing``; ``average``, a moving average of the matrix answers; ``names``, the new names also compete
    for images of known classes (the simplest thing to do with names); ``invented``, image features of new classes are also made: the mean
    of the features of the three known classes with the nearest names, weighted by a softmax, moved by the difference of names; ``both``,
    invented features and the average.

    Accuracies are among known classes for images of these (``known``) and among new ones for the others (``new``), as in the paper;
    ``harmonic`` is the first.
    """

    trial = Trial({"steps": 4})

    unit: ClassVar[str] = "harmonic mean"
    better: ClassVar[str] = "higher"

    guards: Literal["nothing", "average", "names", "invented", "both"] = Field("nothing", description="what keeps new classes")
    steps: int = Field(300, ge=0, description="of tuning")
    shots: int = Field(4, ge=1, le=60, description="images of each of five classes")
    rate: float = Field(0.03, gt=0, description="learning rate")
    vague: float = Field(1.2, ge=0, description="length of the noise in a name, by the mean feature's")
    weight: float = Field(0.5, ge=0, description="of invented features beside real ones")
    slow: float = Field(0.99, ge=0, lt=1, description="share of the average that stays at each step")
    width: int = Field(32, ge=2, le=60, description="numbers of a feature")
    sharp: float = Field(20.0, gt=0, description="what cosines are multiplied by")

    def measure(self, seed: int) -> dict[str, float]:
        """``harmonic``, ``known`` and ``new``."""
        import numpy as np
        import torch

        from windtunnel.kits.image.tiny import dealt, share_right, trained

        random, unit = np.random.default_rng(seed), torch.nn.functional.normalize
        data, generator = dealt(self.name, random), torch.Generator().manual_seed(seed)
        order = torch.from_numpy(np.argsort(random.permutation(10)))
        labels = order[data.labels]  # known classes are the first five
        middle = data.images[data.chosen].mean(dim=0)
        axes = torch.linalg.svd(data.images[data.chosen] - middle, full_matrices=False)[2][: self.width]
        features = unit((data.images - middle) @ axes.T, dim=1)
        means = torch.stack([features[data.chosen][labels[data.chosen] == label].mean(dim=0) for label in range(10)])
        noise = torch.randn(10, self.width, generator=generator) / self.width**0.5
        names = unit(means + self.vague * means.norm(dim=1, keepdim=True) * noise, dim=1)
        rows = torch.cat([data.train[labels[data.train] == label][: self.shots] for label in range(5)])
        shown, wanted = features[rows], labels[rows]
        centres = torch.stack([shown[wanted == label].mean(dim=0) for label in range(5)])
        average = torch.eye(self.width)

        def scores(matrix: Tensor, given: Tensor) -> Tensor:
            return self.sharp * given @ unit(names @ matrix.T, dim=1).T

        def loss(held: Weights, some: Tensor) -> Tensor:
            found = scores(held["matrix"], shown[some])
            among = found if self.guards == "names" else found[:, :5]
            total = torch.nn.functional.cross_entropy(among, wanted[some])
            if self.guards in ("invented", "both"):
                made = unit(invented(names, centres) + 0.1 * torch.randn(5, self.width, generator=generator), dim=1)
                total = total + self.weight * torch.nn.functional.cross_entropy(scores(held["matrix"], made), torch.arange(5, 10))
            return total

        def after(held: Weights, step: int) -> None:
            average.mul_(self.slow).add_(held["matrix"], alpha=1 - self.slow)

        found = trained({"matrix": torch.eye(self.width)}, loss, len(shown), self.steps, self.rate, random, after=after)["matrix"]
        matrix = average if self.guards in ("average", "both") else found
        held = labels[data.held]
        known = share_right(scores(matrix, features[data.held[held < 5]])[:, :5], held[held < 5])
        new = share_right(scores(matrix, features[data.held[held >= 5]])[:, 5:], held[held >= 5] - 5)
        return {"harmonic": 2 * known * new / max(known + new, 1e-9), "known": known, "new": new}


def invented(names: torch.Tensor, centres: torch.Tensor) -> torch.Tensor:
    """Features [5, width] of the last five names from mean features [5, width] of the first five, through the three nearest names."""
    near = (names[5:] @ names[:5].T).topk(3, dim=1)
    share = (10 * near.values).softmax(dim=1)[:, :, None]
    moved = centres[near.indices] + names[5:, None] - names[near.indices]
    return (share * moved).sum(dim=1)
