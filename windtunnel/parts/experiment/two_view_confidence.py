"""Learning maps from labels that are partly wrong, with weights by how much another sensor's model believes a label."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.kits.optim.descent import take_step
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np

SIDE, CLASSES, HIDDEN, FLOOR = 20, 4, 24, 1e-6


class TwoViewConfidence(Experiment, name="two-view-confidence"):
    """How well maps are drawn by two models of two sensors that learned from one map with wrong labels.

    Liu, Albrecht, Wang and Zhu 2024 (CromSS), arXiv:2405.01217: each sensor has a model; the confidence of each in the label that is given
    weighs the other's cross entropy, so that what neither believes teaches less, and labels are smoothed by their neighbours. How the
    two confidences are mixed is not in the paper's abstract; here it is their mean, and a weight is that over the mean of all pixels.

    Maps of 20 x 20 pixels have four classes in smooth regions. Each sensor sees three numbers a pixel with noise, and cannot tell two of
    the classes apart, another two for each. Blocks of 5 x 5 pixels are mislabelled together, to the class that follows, each with the
    chance ``wrong``. A model is a network of one hidden layer on the 3 x 3 pixels around. ``plain`` weighs nothing, ``own`` takes a model's
    own confidence, ``cross`` the mean of both, ``other`` the other's alone, ``right`` weighs wrong labels 0, which is the bound. Weights
    begin after a third of the steps. ``smoothing`` gives so much of each label to the labels of the eight pixels around.

    The numbers, over both models: ``accuracy`` on clean new maps; ``trust``, the weight of rightly labelled pixels over that of all;
    and ``transferred``, the accuracy of a new last layer that is fitted to ``clean`` clean maps on what the hidden layer learned.
    """

    trial = Trial({"maps": 2, "steps": 6, "clean": 1})

    unit: ClassVar[str] = "share right"
    better: ClassVar[str] = "higher"

    how: Literal["plain", "own", "other", "cross", "right"] = Field("plain", description="what weighs a label")
    wrong: float = Field(0.4, ge=0, lt=1, description="chance that a block of labels is wrong")
    smoothing: float = Field(0.0, ge=0, lt=1, description="share of a label that its neighbours say")
    maps: int = Field(6, ge=1, description="with wrong labels")
    clean: int = Field(2, ge=1, description="maps without, for the last layer")
    steps: int = Field(150, ge=3, description="all pixels in each")
    rate: float = Field(0.02, gt=0, description="learning rate of Adam")

    def measure(self, seed: int) -> dict[str, float]:
        """``accuracy``, ``trust`` and ``transferred``."""
        import numpy as np
        import torch
        from torch import nn

        random = np.random.default_rng(seed)
        signs = [random.standard_normal((CLASSES, 3)) * 1.2 for _ in range(2)]
        signs[0][1], signs[1][3] = signs[0][0], signs[1][2]
        truth = maps(self.maps + self.clean + 6, random)
        sights = [torch.from_numpy(around(sign[truth] + random.standard_normal((*truth.shape, 3)))).float() for sign in signs]
        given = mislabelled(truth[: self.maps], self.wrong, random)
        targets = torch.from_numpy(smoothed(given, self.smoothing)).float().reshape(-1, CLASSES)
        right = torch.from_numpy(given == truth[: self.maps]).float().reshape(-1)
        labels, size = torch.from_numpy(given).reshape(-1), self.maps * SIDE**2
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(seed)
            models = [nn.Sequential(nn.Linear(27, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, CLASSES)) for _ in sights]
        optimizer = torch.optim.Adam([one for model in models for one in model.parameters()], self.rate)
        weights = [torch.ones(size), torch.ones(size)]
        for step in range(self.steps):
            logits = [model(sight[:size]).log_softmax(dim=1) for model, sight in zip(models, sights, strict=True)]
            if self.how != "plain" and step >= self.steps // 3:
                believed = [one.detach().exp().gather(1, labels[:, None])[:, 0] for one in logits]
                weights = self._weights(believed, right)
            loss = sum((-(weight * (targets * one).sum(dim=1)).mean() for weight, one in zip(weights, logits, strict=True)), start=0.0)
            take_step(optimizer, loss)  # type: ignore[arg-type]
        found = [self._judged(model, sight, torch.from_numpy(truth).reshape(-1)) for model, sight in zip(models, sights, strict=True)]
        accuracy, transferred = np.mean(found, axis=0)
        trust = np.mean([float((weight * right).mean() / (right.mean() * weight.mean() + FLOOR)) for weight in weights])
        return {"accuracy": float(accuracy), "trust": float(trust), "transferred": float(transferred)}

    def _weights(self, believed: list, right: object) -> list:
        """Of each pixel for each model, mean 1, from the chance that each gives the label."""
        first, second = believed
        found = {"own": (first, second), "other": (second, first), "cross": ((first + second) / 2,) * 2, "right": (right, right)}[self.how]
        return [one / (one.mean() + FLOOR) for one in found]

    def _judged(self, model: object, sight: object, truth: object) -> tuple[float, float]:
        """The accuracy on the last six maps, of the model and with a new last layer, a ridge regression on clean maps."""
        import torch

        first, last = self.maps * SIDE**2, (self.maps + self.clean) * SIDE**2
        with torch.no_grad():
            hidden = model[1](model[0](sight))  # type: ignore[index]
            own = model[2](hidden[last:]).argmax(dim=1)  # type: ignore[index]
            wide = torch.cat([hidden, torch.ones(len(hidden), 1)], dim=1).double()
            wanted = torch.eye(CLASSES, dtype=torch.float64)[truth[first:last]]  # type: ignore[index]
            fitted = wide[first:last]
            solved = torch.linalg.solve(fitted.T @ fitted + torch.eye(HIDDEN + 1, dtype=torch.float64), fitted.T @ wanted)
            anew = (wide[last:] @ solved).argmax(dim=1)
        return tuple(float((one == truth[last:]).double().mean()) for one in (own, anew))  # type: ignore[index, return-value]


def maps(count: int, random: np.random.Generator) -> np.ndarray:
    """Classes int64 [count, SIDE, SIDE], in smooth regions."""
    import numpy as np
    from scipy.ndimage import gaussian_filter

    fields = gaussian_filter(random.standard_normal((count, CLASSES, SIDE, SIDE)), (0, 0, 2.0, 2.0))
    return np.asarray(fields.argmax(axis=1))


def mislabelled(truth: np.ndarray, wrong: float, random: np.random.Generator) -> np.ndarray:
    """Labels of which blocks of 5 x 5 pixels, a share ``wrong``, say the class after the true one."""
    import numpy as np

    blocks = random.random((len(truth), SIDE // 5, SIDE // 5)) < wrong
    return np.where(np.kron(blocks, np.ones((1, 5, 5), bool)), (truth + 1) % CLASSES, truth)


def smoothed(labels: np.ndarray, share: float) -> np.ndarray:
    """What each pixel is taken for, [maps, SIDE, SIDE, CLASSES]: its label, and for ``share`` what the pixels around say."""
    import numpy as np

    own = np.eye(CLASSES)[labels]
    wide = np.pad(own, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    near = sum(wide[:, down : down + SIDE, across : across + SIDE] for down in range(3) for across in range(3)) - own
    return np.asarray((1 - share) * own + share * near / 8)


def around(pixels: np.ndarray) -> np.ndarray:
    """The 3 x 3 pixels around each, [maps x SIDE x SIDE, 9 x channels]."""
    import numpy as np

    wide = np.pad(pixels, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    parts = [wide[:, down : down + SIDE, across : across + SIDE] for down in range(3) for across in range(3)]
    return np.concatenate(parts, axis=3).reshape(-1, 9 * pixels.shape[-1])
