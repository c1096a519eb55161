"""Points seen in several views, and a predictor that learns from what its own predictions of a point agree on."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.kits.ridge import ridge
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]


class ConsensusLabels(Experiment, name="consensus-labels"):
    """The error of predicted points in a new scene, after tuning on labels that views agree on.

    Lu et al. 2025, "LoRA3D: Low-Rank Self-Calibration of 3D Geometric Foundation Models", arXiv:2412.07746: predictions from several
    pictures of a scene are brought together, each counting by its confidence, which is itself corrected by how far the prediction is from
    the others; what is agreed with confidence is the label on which low-rank matrices are tuned. Points are three numbers; a view is of a
    point from a distance, x = (points turned by the distance) and noise that grows with it, and the predictor is a linear layer on random
    rectified features of x and the distance. It has learned from scenes with distances up to 1 and meets one with distances up to
    ``far``, where its predictions from afar are off.

    ``labels``: ``weighted``, so: the confidence falls with distance, with errors of its own, and three rounds divide it by the squared
    distance from the mean; ``even``, the plain mean of a point's predictions; ``own``, each prediction itself; ``true`` ones, an oracle;
    ``nothing`` is learned. ``rank`` is that of the update, 0 for any. Of the labels of ``weighted`` the surer half counts. ``error`` is
    the mean distance from true points on other points of the scene, ``label`` that of the labels, and ``before`` that of the predictor
    before.
    """

    trial = Trial({"points": 20, "width": 16})

    unit: ClassVar[str] = "distance"
    better: ClassVar[str] = "lower"

    labels: Literal["weighted", "even", "own", "true", "nothing"] = Field("weighted", description="what is learned from")
    rank: int = Field(2, ge=0, description="of the update; 0 is any")
    far: float = Field(2.5, gt=0, description="largest distance in the new scene; 1 in those before")
    points: int = Field(150, ge=10, description="of the new scene, and as many to judge on")
    views: int = Field(6, ge=2, description="of each point")
    width: int = Field(96, ge=4, description="random features")
    strength: float = Field(0.03, gt=0, description="of the ridge that holds the layer to what it was, by the features' mean square")

    def measure(self, seed: int) -> dict[str, float]:
        """``error``, ``label`` and ``before``."""
        import numpy as np

        random = np.random.default_rng(seed)
        axes = random.standard_normal((3, 3))
        axes -= axes.T
        matrix, shift = random.standard_normal((4, self.width)), random.uniform(-1, 1, self.width)

        def seen(points: Array, far: float) -> tuple[Array, Array]:
            """Features [points, views, width] and distances [points, views]."""
            away = random.uniform(0, far, (len(points), self.views))
            turned = points[:, None] + 0.4 * away[:, :, None] * (points @ axes.T)[:, None]
            turned = turned + 0.1 * away[:, :, None] * random.standard_normal(turned.shape)
            given = np.concatenate([turned, away[:, :, None]], axis=2)
            return np.maximum(given @ matrix + shift, 0), away

        many = random.standard_normal((600, 3))
        features, _ = seen(many, 1.0)
        layer = held_to(np.zeros((self.width, 3)), features.reshape(-1, self.width), np.repeat(many, self.views, axis=0), 1e-3)
        scene, others = random.standard_normal((2, self.points, 3))
        shown, away = seen(scene, self.far)
        asked, _ = seen(others, self.far)
        before = float(np.linalg.norm(asked @ layer - others[:, None], axis=2).mean())
        if self.labels == "nothing":
            return {"error": before, "label": before, "before": before}
        said, weight = shown @ layer, np.ones(away.shape)
        target = np.repeat(scene[:, None], self.views, axis=1)
        if self.labels == "own":
            target = said
        elif self.labels == "even":
            target = np.repeat(said.mean(axis=1, keepdims=True), self.views, axis=1)
        elif self.labels == "weighted":
            confidence = np.exp(-2 * away + 0.5 * random.standard_normal(away.shape))
            agreed, sure = agreement(said, confidence)
            target = np.repeat(agreed[:, None], self.views, axis=1)
            weight = np.repeat((sure >= np.median(sure))[:, None].astype(float), self.views, axis=1)
        kept = weight.ravel() > 0
        found = held_to(layer, shown.reshape(-1, self.width)[kept], target.reshape(-1, 3)[kept], self.strength)
        if self.rank:
            left, sizes, right = np.linalg.svd(found - layer, full_matrices=False)
            found = layer + (left[:, : self.rank] * sizes[: self.rank]) @ right[: self.rank]
        label = np.linalg.norm(target - scene[:, None], axis=2).ravel()[kept]
        return {
            "error": float(np.linalg.norm(asked @ found - others[:, None], axis=2).mean()),
            "label": float(label.mean()),
            "before": before,
        }


def agreement(said: Array, confidence: Array) -> tuple[Array, Array]:
    """The weighted mean [points, 3] of predictions [points, views, 3], and how sure it is [points].

    In three rounds a confidence is divided by one plus the squared distance of its prediction from the mean, in units of the median.
    """
    import numpy as np

    weight = confidence
    for _ in range(3):
        mean = (weight[:, :, None] * said).sum(axis=1) / weight.sum(axis=1)[:, None]
        squares = ((said - mean[:, None]) ** 2).sum(axis=2)
        weight = confidence / (1 + squares / max(float(np.median(squares)), 1e-12))
    mean = (weight[:, :, None] * said).sum(axis=1) / weight.sum(axis=1)[:, None]
    return np.asarray(mean), np.asarray(weight.sum(axis=1))


def held_to(about: Array, features: Array, wanted: Array, strength: float) -> Array:
    """The layer [in, out] of least squares that is held to ``about`` by ``strength`` times the features' mean square, for each row."""
    held = strength * (features**2).sum() / features.shape[1]
    return about + ridge(features, wanted - features @ about, held)
