"""Accuracy as images move away from what was learned, with and without examples of the new kind."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from windtunnel.core.errors import PartError
from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np

STRENGTHS = 5


class ShiftedExamples(Experiment, name="shifted-examples"):
    """Accuracy on images changed at five strengths, by who answers and by what examples it is shown.

    Han et al. 2023, "How Well Does GPT-4V(ision) Adapt to Distribution Shifts?", arXiv:2312.07424, ask a hosted model of that year,
    zero-shot and with examples in its context, on images with noise, in other styles and of other fields. The model cannot be asked again;
    what can be asked are the questions. Features are those of scikit-learn's digits, of length 1, ``good`` or ``poor``. ``answer``:
    ``names``, the nearest of vectors that stand for names (noisy class means of unchanged images); ``head``, a linear discriminant of
    unchanged images; ``examples``, the nearest of ``shots`` examples a class, ``of`` the ``changed`` kind or ``unchanged``.

    Numbers are ``accuracy``, the mean over strengths, ``mild`` and ``strong``, those of the first and the last, and ``plain``, that
    without change.
    """

    trial = Trial({"shots": 2})

    unit: ClassVar[str] = "share right"
    better: ClassVar[str] = "higher"

    answer: Literal["names", "head", "examples"] = Field("names", description="who answers")
    of: Literal["changed", "unchanged"] = Field("changed", description="what kind the examples are of")
    change: Literal["noise", "turn", "fade", "invert"] = Field("noise", description="what is done to images, at strengths 1 to 5")
    features: Literal["good", "poor"] = Field("good", description="24 principal components, or four random directions")
    shots: int = Field(8, ge=1, le=50, description="examples of each class")

    def measure(self, seed: int) -> dict[str, float]:
        """``accuracy``, ``mild``, ``strong`` and ``plain``.

        Raises:
            PartError: where a class has too few images.
        """
        import numpy as np

        from windtunnel.kits.heads import discriminants
        from windtunnel.kits.image.tiny import dealt
        from windtunnel.kits.vectors import unit

        random = np.random.default_rng(seed)
        data = dealt(self.name, random)
        images, labels = data.images.numpy().astype(np.float64), data.labels.numpy()
        train, chosen, held = (part.numpy() for part in (data.train, data.chosen, data.held))
        middle = images[train].mean(axis=0)
        axes = np.linalg.svd(images[train] - middle, full_matrices=False)[2][:24]
        matrix = axes.T if self.features == "good" else random.standard_normal((64, 4))

        def read(given: np.ndarray) -> np.ndarray:
            return unit((given - middle) @ matrix)

        if np.bincount(labels[chosen], minlength=10).min() < self.shots:
            raise PartError(f"{self.name}: a class has fewer than {self.shots} images to show; lower shots")
        shown = np.concatenate([chosen[labels[chosen] == label][: self.shots] for label in range(10)])
        before, found = read(images[train]), []
        means = np.stack([before[labels[train] == label].mean(axis=0) for label in range(10)])
        noise = random.standard_normal(means.shape) * np.linalg.norm(means, axis=1, keepdims=True) / np.sqrt(means.shape[1])
        for strength in range(STRENGTHS + 1):
            asked = read(self._changed(images[held], strength, random))
            if self.answer == "names":
                scores = asked @ unit(means + noise).T
            elif self.answer == "head":
                scores = discriminants(before, labels[train], asked, whole=True)
            else:
                known = read(self._changed(images[shown], strength if self.of == "changed" else 0, random))
                near = asked @ known.T
                scores = np.stack([near[:, labels[shown] == label].max(axis=1) for label in range(10)], axis=1)
            found.append(float((scores.argmax(axis=1) == labels[held]).mean()))
        return {"accuracy": float(np.mean(found[1:])), "mild": found[1], "strong": found[-1], "plain": found[0]}

    def _changed(self, images: np.ndarray, strength: int, random: np.random.Generator) -> np.ndarray:
        import numpy as np
        import torch

        from windtunnel.kits.image.tiny import turned

        share = strength / STRENGTHS
        if self.change == "noise":
            return np.clip(images + 0.8 * share * random.standard_normal(images.shape), 0, 1)
        if self.change == "turn":
            return turned(torch.from_numpy(images), 90 * share).numpy().astype(np.float64)
        if self.change == "fade":
            return images * (1 - 0.9 * share) + 0.1 * share * random.standard_normal(images.shape)
        return (1 - share) * images + share * (1 - images)
