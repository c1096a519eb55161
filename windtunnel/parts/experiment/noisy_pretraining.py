"""What flipped labels in pretraining do to heads on the frozen features, on other classes and on shifted images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.kits.optim.descent import take_steps
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np
    import torch


class NoisyPretraining(Experiment, name="noisy-pretraining"):
    """Accuracy of a head on features that were learned from labels some of which were flipped.

    Chen et al. 2024, "Understanding and Mitigating the Label Noise in Pre-training on Downstream Tasks", arXiv:2309.17002. Two layers learn
    five classes of scikit-learn's digits, which the seed draws, with a share ``flips`` of their labels exchanged for another; then they are
    frozen. ``other``: a head learns the other five classes (in the paper's words in domain). ``shifted``: a head learns the same five from
    right labels and is judged on images of low contrast, with noise, and blurred (out of domain).

    ``linear`` is a probe; ``mlp`` adds to the features what two layers make of them (NMTune without its terms); ``covariance`` punishes
    the covariance of its output, and ``whole`` also its distance from the features and small leading singular values: NMTune. All learn at
    one rate. The numbers are ``accuracy`` and ``leading``, the share of the five largest singular values of the features.
    """

    trial = Trial({"steps": 4, "head_steps": 4})

    unit: ClassVar[str] = "share right"
    better: ClassVar[str] = "higher"

    flips: float = Field(0.0, ge=0, lt=1, description="share of the labels of pretraining that are flipped")
    head: Literal["linear", "mlp", "covariance", "whole"] = Field("linear", description="what learns on the features")
    task: Literal["other", "shifted"] = Field("shifted", description="what the head is judged on")
    steps: int = Field(300, ge=1, description="of pretraining")
    head_steps: int = Field(200, ge=1, description="of the head")
    rate: float = Field(3e-3, gt=0, description="learning rate of AdamW, of both")
    width: int = Field(32, ge=5, description="numbers of a feature")
    batch: int = Field(64, ge=8, description="images of a step")

    def measure(self, seed: int) -> dict[str, float]:
        """``accuracy`` and ``leading``."""
        import numpy as np
        import torch
        from torch import nn

        from windtunnel.kits.image.digits import five_of_ten
        from windtunnel.kits.tuned_features import shifted

        random = np.random.default_rng(seed)
        images, labels, held = five_of_ten(self.name, random)
        images = images / 16
        first = ~held & (labels < 5)
        given = labels[first].copy()
        flipped = random.random(len(given)) < self.flips
        given[flipped] = (given[flipped] + random.integers(1, 5, flipped.sum())) % 5

        def pixels(rows: Any) -> torch.Tensor:
            return torch.from_numpy(images[rows]).float()

        with torch.random.fork_rng(devices=()):
            torch.manual_seed(seed)
            body = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, self.width), nn.ReLU())
            self._fit(nn.Sequential(body, nn.Linear(self.width, 5)), pixels(first), given, self.steps, random)
            wanted = labels >= 5 if self.task == "other" else labels < 5
            with torch.no_grad():
                train = body(pixels(~held & wanted))
                judged = [images[held & wanted]] if self.task == "other" else shifted(images[held & wanted], random)
                tests = [body(torch.from_numpy(each).float()) for each in judged]
            right = self._judged(train, labels[~held & wanted] % 5, tests, labels[held & wanted] % 5, random)
        values = torch.linalg.svdvals(train)
        return {"accuracy": right, "leading": float(values[:5].sum() / values.sum())}

    def _judged(self, train: torch.Tensor, labels: np.ndarray, tests: list[torch.Tensor], wanted: np.ndarray, random: Any) -> float:
        import numpy as np
        import torch

        from windtunnel.kits.tuned_features import TunedFeatures

        scale = train.std()
        head = TunedFeatures(self.width, self.head)
        self._fit(head, train / scale, labels, self.head_steps, random)
        head.eval()
        with torch.no_grad():
            return float(np.mean([(head(each / scale).argmax(dim=1).numpy() == wanted).mean() for each in tests]))

    def _fit(self, module: Any, inputs: Any, labels: np.ndarray, steps: int, random: np.random.Generator) -> None:
        """Cross entropy with what ``module`` punishes besides."""
        import torch

        targets = torch.from_numpy(labels)

        def loss_of(step: int) -> torch.Tensor:
            chosen = torch.from_numpy(random.choice(len(inputs), min(self.batch, len(inputs)), replace=False))
            loss = torch.nn.functional.cross_entropy(module(inputs[chosen]), targets[chosen])
            return loss + (module.punished(inputs[chosen]) if hasattr(module, "punished") else 0.0)

        take_steps(torch.optim.AdamW(module.parameters(), self.rate, weight_decay=1e-4), loss_of, steps)
