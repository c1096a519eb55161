"""Classes with images and classes with a description alone, answered by two experts, and who of them is believed."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.kits.ridge import ridge
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np

TOP, WARM, RIDGE = 5, 3.0, 10.0


class ZeroShotGate(Experiment, name="zero-shot-gate"):
    """The harmonic mean of the accuracies on seen and on unseen classes, by how two experts are combined.

    Atzmon and Chechik 2019, "Adaptive Confidence Smoothing for Generalized Zero-Shot Learning", arXiv:1812.09903 (COSMO). Classes have
    ``attributes`` normal numbers each; features are a random linear map of them,
    with something of the class's own that they do not tell, and noise. The seen expert is a Gaussian discriminant,
    the zero-shot expert a ridge regression from features to attributes and a softmax over cosines with those of all classes. A gate, a
    logistic regression on the five largest probabilities of the seen expert (at temperature 3) and the five largest unseen ones of the
    other, learns from a fifth of the seen classes, which are held out of the experts, with its threshold; then the experts learn all seen
    classes.

    ``way``, for the gate's probability g that a class is unseen: ``largest``, the zero-shot expert alone; ``stacked``, its scores of seen
    classes less a number chosen on validation; ``hard``, the expert that the gate believes; ``soft``, g p(y | unseen) and (1 - g) p(y |
    seen); ``raw``, as in the authors' code, where the zero-shot expert's probabilities are not divided by what it gives to unseen
    classes; ``smoothed`` is ``soft`` and ``paper`` is ``raw`` with (1 - g) / unseen classes added to the one and g / seen classes to the
    other.
    """

    trial = Trial({"seen": 25, "unseen": 5, "images": 8})

    unit: ClassVar[str] = "harmonic mean"
    better: ClassVar[str] = "higher"

    way: Literal["largest", "stacked", "hard", "soft", "raw", "smoothed", "paper"] = Field(
        "stacked", description="how experts are combined"
    )
    seen: int = Field(150, ge=25, description="classes with images")
    unseen: int = Field(50, ge=5, description="classes without")
    images: int = Field(30, ge=4, description="of each class; a third is held out")
    attributes: int = Field(16, ge=2, description="of a class")
    own: float = Field(
        3.0, ge=0, description="standard deviation of what attributes do not tell of a class's mean feature; what they tell has 4"
    )
    noise: float = Field(6.0, gt=0, description="standard deviation of features about the mean of their class")

    def measure(self, seed: int) -> dict[str, float]:
        """``harmonic``, ``seen`` and ``unseen``."""
        import numpy as np
        from sklearn.linear_model import LogisticRegression

        from windtunnel.kits.vectors import unit

        random = np.random.default_rng(seed)
        classes = self.seen + self.unseen
        described = unit(random.standard_normal((classes, self.attributes))) * np.sqrt(self.attributes)
        size = 2 * self.attributes
        mean = described @ random.standard_normal((self.attributes, size)) + self.own * random.standard_normal((classes, size))
        labels = np.repeat(np.arange(classes), self.images)
        features = mean[labels] + self.noise * random.standard_normal((len(labels), size))
        held = np.tile(np.arange(self.images) < self.images // 3, classes)
        few = self.seen - self.seen // 5  # the classes of the experts that the gate learns from
        ahead = _experts(features, labels, ~held & (labels < few), described[: self.seen], few)
        part = held & (labels < self.seen)
        seen, zero = ahead(features[part])
        gate = LogisticRegression(C=1.0, max_iter=500).fit(_shown(seen, zero, few), labels[part] >= few)
        asked = gate.decision_function(_shown(seen, zero, few))
        best = (-1.0, 0.0)
        for number in np.linspace(0, 0.2, 41) if self.way == "stacked" else np.linspace(-6, 6, 49):
            best = max(best, (_harmonic(self.combined(seen, zero, asked, number, few), labels[part], few)[0], float(number)))
        after = _experts(features, labels, ~held & (labels < self.seen), described, self.seen)
        seen, zero = after(features[held])
        found = self.combined(seen, zero, gate.decision_function(_shown(seen, zero, self.seen)), best[1], self.seen)
        harmonic, right_seen, right_unseen = _harmonic(found, labels[held], self.seen)
        return {"harmonic": harmonic, "seen": right_seen, "unseen": right_unseen}

    def combined(self, seen: np.ndarray, zero: np.ndarray, gate: np.ndarray, number: float, count: int) -> np.ndarray:
        """Scores [N, classes] from the experts' probabilities [N, count] and [N, classes] and the gate's logit [N], less ``number``."""
        import numpy as np

        if self.way in ("largest", "stacked"):
            return zero - np.where(np.arange(zero.shape[1]) < count, number if self.way == "stacked" else 0.0, 0.0)
        odds = 1 / (1 + np.exp(-(gate - number)))[:, None]
        if self.way == "hard":
            odds = (odds > 0.5).astype(float)
        unseen = zero[:, count:]
        if self.way in ("hard", "soft", "smoothed"):
            unseen = unseen / np.maximum(unseen.sum(axis=1, keepdims=True), 1e-12)
        if self.way in ("smoothed", "paper"):
            seen, unseen = seen + odds / count, unseen + (1 - odds) / unseen.shape[1]
        return np.concatenate([(1 - odds) * seen, odds * unseen], axis=1)


def _experts(features: np.ndarray, labels: np.ndarray, train: np.ndarray, described: np.ndarray, count: int):  # type: ignore[no-untyped-def]
    """From features to probabilities of the seen expert [N, count] and of the zero-shot one [N, classes]."""
    import numpy as np

    from windtunnel.kits.vectors import softmax, unit

    shown, mine = features[train], labels[train]
    means = np.stack([shown[mine == label].mean(axis=0) for label in range(count)])
    rest = shown - means[mine]
    precision = np.linalg.inv(rest.T @ rest / len(rest) + 1e-3 * np.eye(features.shape[1]))
    described_by = ridge(shown, described[mine], RIDGE)

    def answered(asked: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        seen = asked @ precision @ means.T - 0.5 * ((means @ precision) * means).sum(axis=1)
        return softmax(seen), softmax(10 * unit(asked @ described_by) @ unit(described).T)

    return answered


def _shown(seen: np.ndarray, zero: np.ndarray, count: int) -> np.ndarray:
    """What the gate reads [N, 10]."""
    import numpy as np

    warm = seen ** (1 / WARM)
    warm = warm / warm.sum(axis=1, keepdims=True)
    return np.concatenate([np.sort(zero[:, count:], axis=1)[:, -TOP:], np.sort(warm, axis=1)[:, -TOP:]], axis=1)


def _harmonic(scores: np.ndarray, labels: np.ndarray, count: int) -> tuple[float, float, float]:
    """The harmonic mean of the mean accuracies of seen and unseen classes, and both."""
    import numpy as np

    right = scores.argmax(axis=1) == labels
    each = np.array([right[labels == label].mean() for label in np.unique(labels)])
    seen, unseen = float(each[:count].mean()), float(each[count:].mean())
    return 2 * seen * unseen / max(seen + unseen, 1e-12), seen, unseen
