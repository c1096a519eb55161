"""What frozen features are worth where images are given as in pre-training, and where they are not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.kits.optim.descent import take_steps
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np
    import torch

SIDE = 32  # pixels of the images of pre-training
LEVEL, DEVIATION = 0.5, 0.25  # of their pixels, from 0 to 1
WIDTH = 24  # channels


class MatchedInputs(Experiment, name="matched-inputs"):
    """The share of handwritten digits that a probe names by the features of a network that was pre-trained on larger images.

    Corley et al. 2023, arXiv:2305.13456: benchmarks of pre-trained models give them small images as they are; made as large as in
    pre-training and with the same mean and deviation, the same features are worth far more. Here a small convolutional network learned
    to name half of scikit-learn's digits, enlarged from 8 x 8 to 32 x 32 pixels, and a probe has a few labels of the other half.
    ``resized`` enlarges these too; ``normalised`` gives them the mean and deviation of pre-training, else their numbers from 0 to 255 are
    fed as they are. Features are the means of the last channels over the image. ``accuracy`` is that of five nearest neighbours,
    ``logistic`` that of a regression.

    Rivals that learned nothing: ``features: random`` is the network before training, ``statistics`` are mean, deviation, least and
    greatest of the digit's pixels, ``pixels`` its 64 numbers.
    """

    trial = Trial({"steps": 2})

    unit: ClassVar[str] = "share right"
    better: ClassVar[str] = "higher"

    features: Literal["trained", "random", "statistics", "pixels"] = Field("trained", description="what the probe reads")
    resized: bool = Field(True, description="whether digits are made as large as the images of pre-training")
    normalised: bool = Field(True, description="whether they have the mean and deviation of these")
    steps: int = Field(150, ge=1, description="of pre-training, 32 images each")
    labelled: int = Field(100, ge=20, le=600, description="digits that the probe is fitted to")

    def measure(self, seed: int) -> dict[str, float]:
        """``accuracy`` and ``logistic``.

        Raises:
            UserError: where scikit-learn is missing.
        """
        import numpy as np

        from windtunnel.kits.image.digits import digits

        found, random = digits(self.name), np.random.default_rng(seed)
        from sklearn.linear_model import LogisticRegression
        from sklearn.neighbors import KNeighborsClassifier

        order = random.permutation(len(found.target))
        images, labels = found.images[order] * (255 / 16), found.target[order]
        half = len(order) // 2
        features, labels = self._features(images[half:], (images[:half], labels[:half]), seed), labels[half:]
        known, asked = slice(self.labelled), slice(self.labelled, None)
        features = (features - features[known].mean(axis=0)) / np.maximum(features[known].std(axis=0), 1e-9)
        scores = {
            name: model.fit(features[known], labels[known]).score(features[asked], labels[asked])
            for name, model in (("accuracy", KNeighborsClassifier(5)), ("logistic", LogisticRegression(max_iter=300)))
        }
        return {name: float(score) for name, score in scores.items()}

    def _features(self, images: np.ndarray, before: tuple[np.ndarray, np.ndarray], seed: int) -> np.ndarray:
        """Of ``images`` [N, 8, 8] from 0 to 255: [N, numbers]; ``before`` are images and labels of pre-training."""
        import numpy as np
        import torch

        flat = images.reshape(len(images), -1)
        if self.features == "pixels":
            return flat
        if self.features == "statistics":
            return np.stack([flat.mean(axis=1), flat.std(axis=1), flat.min(axis=1), flat.max(axis=1)], axis=1)
        network = pretrained(*before, self.steps if self.features == "trained" else 0, seed)
        given = torch.from_numpy(images).float()[:, None]
        given = enlarged(given) if self.resized else given
        given = normalised(given) if self.normalised else given
        with torch.no_grad():
            return np.asarray(network[:-1](given).double().numpy())


def enlarged(images: torch.Tensor) -> torch.Tensor:
    """``images`` [N, 1, side, side] with :data:`SIDE` pixels on a side."""
    from torch.nn.functional import interpolate

    return interpolate(images, SIDE, mode="bilinear", align_corners=False)


def normalised(images: torch.Tensor) -> torch.Tensor:
    """``images`` with the mean and deviation that those of pre-training have."""
    return LEVEL + DEVIATION * (images - images.mean()) / images.std()


def pretrained(images: np.ndarray, labels: np.ndarray, steps: int, seed: int) -> Any:
    """A network that learned ``labels`` [N] of ``images`` [N, 8, 8] for ``steps``, in evaluation mode; its last layer names them."""
    import numpy as np
    import torch
    from torch import nn

    random, given = np.random.default_rng((seed, 1)), normalised(enlarged(torch.from_numpy(images).float()[:, None]))
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        blocks = [
            nn.Sequential(nn.Conv2d(inner, WIDTH, 3, padding=1, stride=2), nn.BatchNorm2d(WIDTH), nn.ReLU()) for inner in (1, WIDTH, WIDTH)
        ]
        network = nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(WIDTH, 10))

        def loss(step: int) -> torch.Tensor:
            chosen = random.integers(0, len(given), 32)
            return nn.functional.cross_entropy(network(given[chosen]), torch.from_numpy(labels[chosen]))

        take_steps(torch.optim.AdamW(network.parameters(), 3e-3), loss, steps)
    return network.eval()
