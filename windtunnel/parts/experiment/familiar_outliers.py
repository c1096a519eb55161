"""Whether classes that pretraining has seen, and that the task does not know, are told from those that it knows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np


class FamiliarOutliers(Experiment, name="familiar-outliers"):
    """How well a score tells five classes of handwritten digits from the other five, which pretraining has seen too.

    Miyai et al. 2023, "Can Pre-trained Networks Detect Familiar Out-of-Distribution Data?", arXiv:2310.00847: models pretrained without
    labels separate such classes less, so that scores by the boundary of a probe (``msp``, ``energy``, ``maxlogit``) fail, and distances
    between features (``knn``, ``mahalanobis``) do not. ``brightness`` is the floor: minus how far the mean of the pixels is from the usual.

    Pretraining is a linear map to ``width`` numbers in closed form, learned from images of all ten classes: with all labels
    (``classes``: discriminants), with labels that put each known class together with one that is not (``coarse``), without labels
    (``unlabelled``: principal components of equal variance), or not at all (``random``). A logistic probe learns the five known classes on
    its features. ``noise`` asks of images whose pixels were exchanged at random instead. The numbers are ``auroc``, ``false_positives`` at
    95 percent, and the ``accuracy`` of the probe on known classes.
    """

    trial = Trial({"width": 4})

    unit: ClassVar[str] = "AUROC"
    better: ClassVar[str] = "higher"

    pretrained: Literal["classes", "coarse", "unlabelled", "random"] = Field(
        "unlabelled", description="what the features were learned from"
    )
    score: Literal["msp", "energy", "maxlogit", "knn", "mahalanobis", "brightness"] = Field("msp", description="what tells outliers")
    outliers: Literal["familiar", "noise"] = Field("familiar", description="the other five classes, or images of exchanged pixels")
    width: int = Field(9, ge=2, le=60, description="numbers of a feature at most: discriminants are fewer than labels")
    neighbour: int = Field(10, ge=1, le=400, description="which nearest neighbour counts")

    def measure(self, seed: int) -> dict[str, float]:
        """``auroc``, ``false_positives`` and ``accuracy``."""
        import numpy as np

        from windtunnel.kits.detection import auroc, false_positives
        from windtunnel.kits.image.digits import five_of_ten

        random = np.random.default_rng(seed)
        images, labels, held = five_of_ten(self.name, random)
        from sklearn.linear_model import LogisticRegression

        noise = random.permuted(images, axis=1)
        mapped = self._map(images[~held], labels[~held], random)
        train, known, other = ~held & (labels < 5), held & (labels < 5), held & (labels >= 5)
        away = noise[known] if self.outliers == "noise" else images[other]
        probe = LogisticRegression(C=1.0, max_iter=300).fit(mapped(images[train]), labels[train])
        known_scores, other_scores = (self._scores(probe, mapped, asked, images[train], labels[train]) for asked in (images[known], away))
        right = float(probe.score(mapped(images[known]), labels[known]))
        found = {"auroc": auroc(known_scores, other_scores), "false_positives": false_positives(known_scores, other_scores)}
        return {**found, "accuracy": right}

    def _map(self, images: np.ndarray, labels: np.ndarray, random: np.random.Generator) -> Any:
        """From images to features."""
        from sklearn.decomposition import PCA
        from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

        if self.pretrained == "random":
            matrix = random.standard_normal((images.shape[1], self.width)) / 16
            return lambda given: (given - images.mean(axis=0)) @ matrix
        if self.pretrained == "unlabelled":
            return PCA(self.width, whiten=True, svd_solver="full").fit(images).transform
        wanted = labels % 5 if self.pretrained == "coarse" else labels
        return LinearDiscriminantAnalysis(n_components=min(self.width, wanted.max())).fit(images, wanted).transform

    def _scores(self, probe: Any, mapped: Any, images: np.ndarray, train: np.ndarray, labels: np.ndarray) -> np.ndarray:
        from windtunnel.kits.detection import from_logits, mahalanobis, nearness

        if self.score == "brightness":
            return -abs(images.mean(axis=1) - train.mean())
        if self.score == "knn":
            return nearness(mapped(images), mapped(train), self.neighbour)
        if self.score == "mahalanobis":
            return mahalanobis(mapped(images), mapped(train), labels)
        return from_logits(probe.decision_function(mapped(images)))[self.score]
