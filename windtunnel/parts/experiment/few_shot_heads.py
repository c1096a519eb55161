"""Heads that a few labelled vectors a class make, without training, beside vectors of the classes' names."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from windtunnel.core.errors import PartError
from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np

WEIGHTS = tuple(10.0**power for power in range(-7, 5))  # of the few labels beside the names, tried on validation
SHARP = 100.0  # what cosines with names are multiplied by
NAMED = 5  # images whose mean is the vector of a name


class FewShotHeads(Experiment, name="few-shot-heads"):
    """Accuracy of a head of ``shots`` vectors a class on features that are fixed, alone or added to cosines with names.

    Wang et al. 2024, "A Hard-to-Beat Baseline for Training-free CLIP-based Adaptation", arXiv:2402.04087: Gaussian discriminant analysis
    with the precision of Kubokawa and Srivastava, P = d ((N - 1) S + tr(S) I)^-1 for N vectors of d numbers with pooled covariance S
    about the means of classes; logits are f.P mu_c - mu_c.P mu_c / 2, and with names 100 f.t_c + w times that. ``w`` is chosen on
    validation among powers of ten.

    Features are principal components of scikit-learn's digits, of length 1. A name's vector is the mean of its class among images that no
    head reads, moved by noise of ``vague`` times its length, and by one direction that all names share: two towers as they are after
    contrastive training. ``head``: ``names`` alone, ``nearest`` mean, ``logistic`` regression (C of five chosen on validation),
    ``discriminant``, and ``nearest-names`` and ``discriminant-names`` with names. The paper's ten augmented views of each shot are left
    out.
    """

    trial = Trial({"shots": 2})

    unit: ClassVar[str] = "share right"
    better: ClassVar[str] = "higher"

    head: Literal["names", "nearest", "logistic", "discriminant", "nearest-names", "discriminant-names"] = Field(
        "names", description="what answers"
    )
    shots: int = Field(16, ge=1, le=80, description="labelled images of each class")
    vague: float = Field(1.0, ge=0, description="length of the noise in a name's vector, by the name's own")
    width: int = Field(32, ge=2, le=60, description="numbers of a feature")

    def measure(self, seed: int) -> dict[str, float]:
        """``accuracy``, and ``weight``, what the few labels count beside names (0 without them)."""
        import numpy as np

        from windtunnel.kits.heads import discriminants
        from windtunnel.kits.image.tiny import dealt
        from windtunnel.kits.vectors import unit

        random = np.random.default_rng(seed)
        data = dealt(self.name, random)
        images, labels = data.images.numpy().astype(np.float64), data.labels.numpy()
        train, chosen, held = (part.numpy() for part in (data.train, data.chosen, data.held))
        axes = np.linalg.svd(images[train] - images[train].mean(axis=0), full_matrices=False)[2][: self.width]
        found = unit((images - images[train].mean(axis=0)) @ axes.T)
        if np.bincount(labels[train], minlength=10).min() < self.shots + NAMED:
            raise PartError(f"{self.name}: a class has fewer than {self.shots} images to learn from and {NAMED} for its name; lower shots")
        shown = np.concatenate([train[labels[train] == label][: self.shots] for label in range(10)])
        unread = np.concatenate([train[labels[train] == label][-NAMED:] for label in range(10)])
        means = np.stack([found[unread[labels[unread] == label]].mean(axis=0) for label in range(10)])
        noise = random.standard_normal((11, self.width)) / np.sqrt(self.width)
        size = np.linalg.norm(means, axis=1, keepdims=True)
        names = SHARP * found @ unit(means + self.vague * size * noise[:10] + size * noise[10]).T
        if self.head == "names":
            return {"accuracy": share(names[held], labels[held]), "weight": 0.0}
        if self.head == "logistic":
            from sklearn.linear_model import LogisticRegression

            tried = (LogisticRegression(C=10.0**power, max_iter=200).fit(found[shown], labels[shown]) for power in range(-1, 4))
            best = max(tried, key=lambda one: float(one.score(found[chosen], labels[chosen])))
            return {"accuracy": float(best.score(found[held], labels[held])), "weight": 0.0}
        scores = discriminants(found[shown], labels[shown], found, whole=self.head.startswith("discriminant"))
        if not self.head.endswith("names"):
            return {"accuracy": share(scores[held], labels[held]), "weight": 0.0}
        weight = max(WEIGHTS, key=lambda one: share((names + one * scores)[chosen], labels[chosen]))
        return {"accuracy": share((names + weight * scores)[held], labels[held]), "weight": weight}


def share(scores: np.ndarray, labels: np.ndarray) -> float:
    """Of rows whose highest score is that of their label."""
    return float((scores.argmax(axis=1) == labels).mean())
