"""What the weights of small convolutional networks say of how they were trained."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.kits.optim.descent import take_steps
from windtunnel.slots import Experiment


class TrainedFilters(Experiment, name="trained-filters"):
    """How `weight-health` judges the layers of a convolutional network that learned handwritten digits well, a little or not at all.

    Gavrikov and Keuper 2022, "CNN Filter DB", arXiv:2203.15331: kernels of well-trained networks have a spectrum of medium entropy; those
    of untrained ones are as noise, and many public networks are larger than their data needs and hold layers that are degenerate. Three
    convolutions of 3 x 3 and a layer learn scikit-learn's digits; ``steps: 0`` leaves them as they begin.

    The numbers are ``faulty``, the share of layers that are called dead, collapsed or untrained; ``untrained``, the share called that;
    ``entropy``, the mean over layers in that of noise; and ``accuracy`` on held-out digits.
    """

    trial = Trial({"width": 8, "steps": 2})

    unit: ClassVar[str] = "share of layers"

    width: int = Field(16, ge=8, description="channels of each convolution")
    steps: int = Field(300, ge=0, description="of training, 64 images each")
    images: int = Field(1200, ge=64, le=1200, description="images to learn from")
    rate: float = Field(3e-3, gt=0, description="learning rate of AdamW")
    decay: float = Field(0.0, ge=0, description="its weight decay")

    def measure(self, seed: int) -> dict[str, float]:
        """``faulty``, ``untrained``, ``entropy`` and ``accuracy``."""
        import numpy as np
        import torch
        from torch import nn

        from windtunnel.kits.image.digits import digits
        from windtunnel.kits.weights.health import layers

        found, random = digits(self.name), np.random.default_rng(seed)
        order = random.permutation(len(found.target))
        images, labels = torch.from_numpy(found.images / 16).float()[:, None][order], torch.from_numpy(found.target[order])
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(seed)
            width = self.width
            blocks = [nn.Sequential(nn.Conv2d(inner, width, 3, padding=1), nn.ReLU()) for inner in (1, width, width)]
            model = nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * width, 10))

            def loss(step: int) -> torch.Tensor:
                chosen = torch.from_numpy(random.integers(0, self.images, 64))
                return nn.functional.cross_entropy(model(images[chosen]), labels[chosen])

            take_steps(torch.optim.AdamW(model.parameters(), self.rate, weight_decay=self.decay), loss, self.steps)
            with torch.no_grad():
                right = (model(images[1200:]).argmax(dim=1) == labels[1200:]).double().mean()
        judged = [layer for layer in layers(model.state_dict().items()) if layer.verdict != "small"]
        verdicts = [layer.verdict for layer in judged]
        return {
            "faulty": sum(map(bool, verdicts)) / len(verdicts),
            "untrained": verdicts.count("untrained") / len(verdicts),
            "entropy": sum(layer.entropy for layer in judged) / len(judged),
            "accuracy": float(right),
        }
