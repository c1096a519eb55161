"""Heads on fixed features: which needs how many labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from windtunnel.core.errors import UserError
from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np

HELD_OUT = 600  # examples on which a head is judged
APART = 3.0  # standard deviations between the means of two classes


class ProbeHeads(Experiment, name="probe-heads"):
    """The accuracy of a classifier that is fitted to few labels of fixed features.

    Zheng et al. 2023, "Revisiting Discriminative vs. Generative Classifiers", arXiv:2302.02334: naive Bayes comes near its best with a
    number of labels that grows with the logarithm of the number of features, logistic regression with one that grows with the number.

    ``naive-bayes`` is theirs, that of the evaluation `probe`; ``logistic`` is a regression that is fitted to its end with next to no
    penalty, as theirs is; ``tuned`` chooses its penalty by cross-validation among the labels. ``gaussians`` are classes of one variance, in
    which naive Bayes is right about the world, as far apart whatever the number of ``features``. ``digits`` are the 64 pixels of
    scikit-learn's digits, which are anything but independent. Data and labels are drawn by the seed alone. It needs scikit-learn.
    """

    trial = Trial({"labels": 2, "features": 4, "head": "logistic"})

    unit: ClassVar[str] = "share right"
    better: ClassVar[str] = "higher"

    head: Literal["naive-bayes", "logistic", "tuned"] = Field("naive-bayes", description="the classifier")
    data: Literal["gaussians", "digits"] = Field("gaussians", description="the features")
    labels: int = Field(5, ge=2, description="labelled examples of each class")
    features: int = Field(32, ge=1, description="how many, of gaussians")
    classes: int = Field(5, ge=2, description="how many, of gaussians")

    def measure(self, seed: int) -> dict[str, float]:
        """``accuracy``. Raises UserError where scikit-learn is missing or a class of digits has too few examples."""
        import numpy as np

        random = np.random.default_rng(seed)
        known, names, held, truth = self._digits(random) if self.data == "digits" else self._gaussians(random)
        return {"accuracy": float((self._named(known, names, held) == truth).mean())}

    def _gaussians(self, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Features and classes of the labelled examples, then of the others."""
        import numpy as np

        means = random.standard_normal((self.classes, self.features)) * APART / np.sqrt(2 * self.features)
        names, truth = np.repeat(np.arange(self.classes), self.labels), random.integers(self.classes, size=HELD_OUT)
        known, held = (means[one] + random.standard_normal((len(one), self.features)) for one in (names, truth))
        return known, names, held, truth

    def _digits(self, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        import numpy as np

        from windtunnel.kits.image.digits import digits

        found = digits(self.name)
        images, classes = found.data, found.target
        order = random.permutation(len(classes))
        held, rest = order[:HELD_OUT], order[HELD_OUT:]
        places = [rest[classes[rest] == one][: self.labels] for one in range(10)]
        if (fewest := min(map(len, places))) < self.labels:
            raise UserError(f"probe-heads: labels {self.labels}: a class of digits has {fewest} examples that are not held out")
        chosen = np.concatenate(places)
        return images[chosen] / 16, classes[chosen], images[held] / 16, classes[held]

    def _named(self, known: np.ndarray, names: np.ndarray, held: np.ndarray) -> np.ndarray:
        """The class of each of ``held``, as the head has it."""
        import warnings

        import numpy as np

        from windtunnel.parts.evaluation.probe import fitted, naive_bayes

        if self.head == "naive-bayes":
            return naive_bayes(known, names, held)
        if self.head == "tuned":
            odds, classes = fitted(known, names)(held)
            return np.asarray(classes[odds.argmax(axis=1)])
        from sklearn.linear_model import LogisticRegression

        mean, deviation = known.mean(axis=0), np.maximum(known.std(axis=0), 1e-6)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of few labels that are told apart perfectly, with no best weights
            model = LogisticRegression(C=1e4, max_iter=300).fit((known - mean) / deviation, names)
        return np.asarray(model.predict((held - mean) / deviation))
