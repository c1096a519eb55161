"""A classifier of images some classes of which are rare, with images drawn again, labelled by itself, or made."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from windtunnel.core.errors import PartError
from windtunnel.core.trial import Trial
from windtunnel.kits.optim.descent import take_steps
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np

RARE = 2  # classes


class RareClasses(Experiment, name="rare-classes"):
    """F1 of rare classes of a network that learns from few images of them and what was done about it.

    Bloch et al. 2021, arXiv:2112.00065: labels that an ensemble gives to unlabelled images and images of a generator, three to a real one,
    raise the F1 of rare classes. They do not try to draw rare images again, so that is an arm. Of scikit-learn's digits eight classes have
    ``common`` labelled images and two ``rare`` ones; ``unlabelled`` others are there, as unbalanced; a network of one hidden layer learns.

    ``again`` draws rare images as often as common ones. ``pseudo`` adds unlabelled images with the mean answer of three networks, where it
    is sure (at least 0.9). ``made`` adds, for ``ratio`` times the real images, normal variates of the mean of a class and the covariance
    within classes, pooled, with 0.001 more variance of each pixel (a GAN there), as many of each class; ``both`` adds both. ``jittered``
    adds as many that are copies with noise, the control of ``made``. The numbers are ``rare``, the mean F1 of the two, ``common`` of the
    others and ``accuracy``. It needs scikit-learn.
    """

    trial = Trial({"steps": 3, "common": 12, "rare": 2, "unlabelled": 40})

    unit: ClassVar[str] = "F1"
    better: ClassVar[str] = "higher"

    how: Literal["plain", "again", "pseudo", "made", "both", "jittered"] = Field("plain", description="what is done about rare classes")
    common: int = Field(60, ge=2, le=80, description="labelled images of a common class")
    rare: int = Field(4, ge=2, description="labelled images of a rare one")
    unlabelled: int = Field(200, ge=10, description="images without a label")
    ratio: float = Field(3.0, gt=0, description="made images for each real one")
    steps: int = Field(200, ge=1, description="of Adam, 64 images in each")

    def measure(self, seed: int) -> dict[str, float]:
        """``rare``, ``common`` and ``accuracy``. Raises PartError for rare classes that are none, and more images than there are."""
        import numpy as np

        from windtunnel.kits.image.digits import digits

        if self.rare > self.common:
            raise PartError(f"{self.name}: rare {self.rare} exceeds common {self.common}; lower it")
        found, random = digits(self.name), np.random.default_rng(seed)
        order, names = random.permutation(len(found.target)), random.permutation(10)
        pixels, labels = found.data[order] / 16, names[found.target[order]]
        half = len(order) // 2
        test, rest = np.arange(half), np.arange(half, len(order))
        few = labels < RARE
        rank = np.array([(labels[rest[:place]] == labels[rest[place]]).sum() for place in range(len(rest))])
        known = rest[rank < np.where(few[rest], self.rare, self.common)]
        others = np.setdiff1d(rest, known)
        others = random.permutation(others[~few[others] | (random.random(len(others)) < self.rare / self.common)])
        if self.unlabelled > len(others):
            raise PartError(f"{self.name}: unlabelled {self.unlabelled}: {len(others)} digits are left without a label; lower it or common")
        others = others[: self.unlabelled]
        images, names = pixels[known], labels[known]
        more = [(images, names)]
        if self.how in ("pseudo", "both"):
            answers = np.mean([fitted(images, names, self.steps, seed + 1000 * n)(pixels[others]) for n in range(1, 4)], axis=0)
            sure = answers.max(axis=1) >= 0.9
            more.append((pixels[others][sure], answers.argmax(axis=1)[sure]))
        if self.how in ("made", "both", "jittered"):
            wanted = np.repeat(np.arange(10), round(self.ratio * len(images) / 10))
            more.append((made(images, names, wanted, random, copies=self.how == "jittered"), wanted))
        images, names = (np.concatenate(parts) for parts in zip(*more, strict=True))
        often = 1 / np.bincount(names, minlength=10)[names] if self.how == "again" else np.ones(len(names))
        answers = fitted(images, names, self.steps, seed, often)(pixels[test]).argmax(axis=1)
        each = [f1(answers == name, labels[test] == name) for name in range(10)]
        accuracy = float((answers == labels[test]).mean())
        return {"rare": float(np.mean(each[:RARE])), "common": float(np.mean(each[RARE:])), "accuracy": accuracy}


def f1(named: np.ndarray, true: np.ndarray) -> float:
    """Of one class."""
    return float(2 * (named & true).sum() / max(named.sum() + true.sum(), 1))


def made(images: np.ndarray, labels: np.ndarray, wanted: np.ndarray, random: np.random.Generator, *, copies: bool) -> np.ndarray:
    """An image of each label ``wanted``: a normal variate of its class, or with ``copies`` one of its images with noise."""
    import numpy as np

    if copies:
        chosen = [random.choice(np.flatnonzero(labels == name)) for name in wanted]
        return np.clip(images[chosen] + 0.1 * random.standard_normal((len(wanted), 64)), 0, 1)
    means = np.stack([images[labels == name].mean(axis=0) for name in range(10)])
    within = images - means[labels]
    values, vectors = np.linalg.eigh(within.T @ within / len(within) + 1e-3 * np.eye(64))
    drawn = random.standard_normal((len(wanted), 64)) * np.sqrt(np.maximum(values, 0))
    return np.clip(means[wanted] + drawn @ vectors.T, 0, 1)


def fitted(images: np.ndarray, labels: np.ndarray, steps: int, seed: int, often: np.ndarray | None = None):  # type: ignore[no-untyped-def]
    """A function from images to chances [images, 10], of a network that drew its batches as ``often`` as said."""
    import numpy as np
    import torch
    from torch import nn

    random = np.random.default_rng(seed)
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 10))
    inputs, names = torch.from_numpy(images).float(), torch.from_numpy(labels)
    odds = None if often is None else often / often.sum()

    def loss(step: int) -> torch.Tensor:
        chosen = torch.from_numpy(random.choice(len(labels), 64, p=odds))
        return nn.functional.cross_entropy(model(inputs[chosen]), names[chosen])

    take_steps(torch.optim.Adam(model.parameters(), 3e-3), loss, steps)

    def answer(others: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return np.asarray(model(torch.from_numpy(others).float()).softmax(dim=1).numpy())

    return answer
