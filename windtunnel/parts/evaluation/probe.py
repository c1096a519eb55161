"""A linear probe on frozen features, the primary metric of images and graphs that were learnt without labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, field_validator

from windtunnel.core.errors import PartError, needing
from windtunnel.core.settings import Many
from windtunnel.core.trial import Trial
from windtunnel.kits.trials import DIGITS
from windtunnel.slots import Evaluation, HeldOut

if TYPE_CHECKING:
    import numpy as np
    from transformers import PreTrainedModel

STRENGTHS = (0.0001, 0.001, 0.01, 0.1, 1.0)  # inverse penalties that are tried
SMOOTHING = 0.01  # of a feature's variance over all images, added to that within classes


class Probe(Evaluation, name="probe"):
    """How well labels can be read off the model's features: bits per label of a multinomial logistic regression on frozen features.

    The features of a document are those that a head reads behind the last block: of an image the mean of its patches, or the class token,
    of a graph the mean of its nodes, of a row what gathers its cells. The probe is fitted to ``shots`` training documents of each class,
    drawn ``draws`` times by fixed seeds, the same for every model, and judged on held-out documents; its penalty is chosen by
    cross-validation among the training documents. ``probe`` is the mean over the draws. Without any knowledge of the document it would be
    the entropy of the labels, log2 of the number of classes where these are equally frequent. Beside it stand accuracies of two rivals that
    choose nothing. Of the nearest neighbours: the ``shots`` labelled documents whose features lie nearest by cosine vote, nearer ones more.
    Of naive Bayes: the class whose mean is nearest, each feature by its own variance within classes, which needs fewer labels than a
    regression and is worse with many (Zheng et al. 2023, arXiv:2302.02334).

    Alain and Bengio 2016, arXiv:1610.01644; the weights of neighbours are those of Wu et al. 2018, arXiv:1805.01978. It needs scikit-learn.
    """

    trial = Trial({"shots": 2, "draws": 1}, model={"family": "vit"}, beside={**DIGITS, "evaluations": []})

    unit: ClassVar[str] = "bits per label"
    better: ClassVar[str] = "lower"
    number: ClassVar[str] = "probe"
    by_objective: ClassVar[bool] = False

    shots: int = Field(20, ge=2, description="labelled training images of each class")
    also: Many[int] = Field((), description="further numbers of them, told as probe/2 and so on; at least 2 each", examples=[[2, 5]])
    draws: int = Field(3, ge=1, description="how often these are drawn")

    @field_validator("also")
    @classmethod
    def _enough(cls, also: tuple[int, ...]) -> tuple[int, ...]:
        if min(also, default=2) < 2:
            raise ValueError(f"also: {min(also)} labelled images of a class are too few; a penalty is chosen with at least 2")
        return also

    def evaluate(self, model: PreTrainedModel, held_out: HeldOut) -> dict[str, float]:
        """``probe`` in bits per label, the accuracies of it and its rivals, and ``probe_zero`` (entropy of the held-out labels).

        Raises:
            PartError: where documents are no images, or too few of them have a label.
            UserError: where scikit-learn is missing.
        """
        import numpy as np

        from windtunnel.kits.features import KINDS, labelled

        if not held_out.stream.fields.keys() & set(KINDS) or held_out.facts.classes < 2:
            raise PartError("probe needs images, graphs or rows with labels of two classes or more; this corpus has none")
        train, held = (labelled(model, held_out, split) for split in ("train", held_out.split))
        shares = np.bincount(held[1]) / len(held[1])
        zero = float(-(shares[shares > 0] * np.log2(shares[shares > 0])).sum())
        further = {f"{name}/{shots}": value for shots in self.also for name, value in self._at(shots, train, held).items()}
        return {**self._at(self.shots, train, held), "probe_zero": zero, **further}

    def _at(self, shots: int, train: tuple[np.ndarray, np.ndarray], held: tuple[np.ndarray, np.ndarray]) -> dict[str, float]:
        """The means over draws of ``shots`` images of each class; ``train`` and ``held`` are features and labels."""
        import numpy as np

        bits, right, near, bayes = [], [], [], []
        for draw in range(self.draws):
            chosen = self._chosen(train[1], shots, np.random.default_rng(draw))
            known = train[0][chosen], train[1][chosen]
            odds, classes = fitted(*known)(held[0])
            places = np.searchsorted(classes, held[1])
            there = np.isin(held[1], classes)
            bits.append(float(-np.log2(np.maximum(odds[np.flatnonzero(there), places[there]], 1e-12)).mean()))
            right.append(float((classes[odds.argmax(axis=1)] == held[1]).mean()))
            near.append(float((neighbours(*known, held[0], shots) == held[1]).mean()))
            bayes.append(float((naive_bayes(*known, held[0]) == held[1]).mean()))
        named = {"probe": bits, "probe_accuracy": right, "neighbours_accuracy": near, "naive_bayes_accuracy": bayes}
        return {name: float(np.mean(values)) for name, values in named.items()}

    def _chosen(self, labels: np.ndarray, shots: int, random: np.random.Generator) -> np.ndarray:
        """``shots`` places of each class, at random."""
        import numpy as np

        found = []
        for label in np.unique(labels):
            places = np.flatnonzero(labels == label)
            if len(places) < shots:
                raise PartError(f"probe: class {label} has {len(places)} labelled training images, shots asks for {shots}")
            found.append(random.permutation(places)[:shots])
        return np.concatenate(found)


def neighbours(features: np.ndarray, labels: np.ndarray, others: np.ndarray, count: int) -> np.ndarray:
    """For each of ``others`` [N, width] the label that its ``count`` nearest ``features`` [M, width] vote for: [N].

    A neighbour's vote is exp(cosine / 0.07).
    """
    import numpy as np

    from windtunnel.kits.vectors import unit

    alike = unit(others) @ unit(features).T
    nearest = np.argsort(-alike, axis=1, kind="stable")[:, :count]
    votes = np.zeros((len(others), int(labels.max()) + 1))
    places = np.arange(len(others))[:, None]
    np.add.at(votes, (np.broadcast_to(places, nearest.shape), labels[nearest]), np.exp((alike[places, nearest] - 1) / 0.07))
    return votes.argmax(axis=1)


def naive_bayes(features: np.ndarray, labels: np.ndarray, others: np.ndarray) -> np.ndarray:
    """For each of ``others`` [N, width] the likeliest class by Gaussians fitted to ``features`` [M, width]: [N].

    Classes have means of their own and one variance a feature, the mean of theirs by how frequent they are.
    """
    import numpy as np

    classes, counts = np.unique(labels, return_counts=True)
    shares = counts / counts.sum()
    means = np.stack([features[labels == one].mean(axis=0) for one in classes])
    within = sum(share * features[labels == one].var(axis=0) for one, share in zip(classes, shares, strict=True))
    variance = np.maximum(within + SMOOTHING * features.var(axis=0), 1e-12)
    middle, deviation = features.mean(axis=0), np.sqrt(variance)
    one, two = (others - middle) / deviation, (means - middle) / deviation
    likely = one @ two.T - (two**2).sum(axis=1) / 2  # less what all classes have in common: no array of [N, classes, width]
    return classes[(np.log(shares) + likely).argmax(axis=1)]


def fitted(features: np.ndarray, labels: np.ndarray) -> Any:
    """A function from features to the probability of each class, and the classes."""
    import warnings

    import numpy as np

    with needing("probe", "scikit-learn", "vision"):
        from sklearn.linear_model import LogisticRegressionCV
    mean, deviation = features.mean(axis=0), np.maximum(features.std(axis=0), 1e-6)
    folds = min(5, int(np.bincount(labels)[np.unique(labels)].min()))
    model = LogisticRegressionCV(Cs=list(STRENGTHS), cv=folds, scoring="neg_log_loss", max_iter=300)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a penalty so weak that the fit has not converged: cross-validation does not choose it
        model.fit((features - mean) / deviation, labels)
    return lambda others: (model.predict_proba((others - mean) / deviation), model.classes_)
