"""How much of what a searched prompt promises on training data it is bound to keep elsewhere."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from windtunnel.core.errors import UserError
from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np

DOUBT = 0.05  # the chance that a bound may fail
FLOATS = 64 * 32 * math.log(2)  # nats that say the numbers of a vector, where it may be any


class PromptBound(Experiment, name="prompt-bound"):
    """The gap between a PAC-Bayes bound on the error of a searched prompt and its error on held-out images.

    Akinwande et al. 2024, "Understanding prompt engineering may not require rethinking generalization", arXiv:2310.03957. A prompt is a few
    words from a vocabulary, and a language model says how likely it is before any data: the bound on the error of one prompt is that whose
    binary relative entropy to the training error is (-log p(prompt) + log(2 sqrt(n) / 0.05)) / n, so a prompt of few likely words that
    is right on many images has to be right elsewhere.

    In small: images are scikit-learn's digits, with the mean of all of them taken off, which is all that words owe to images trained and
    judged on. Words are ``vocabulary`` cluster centres of other images, and a word is as likely as its cluster is large. A prompt has
    ``words`` words for each class, whose mean is the class's vector; an image is of the class whose vector is nearest by cosine. Words are
    chosen one by one, each the one with the fewest errors on ``examples`` images. With a ``prior`` of ``floats`` the vectors count as any
    numbers would, those of a soft prompt or a probe.

    The numbers are ``gap``, ``bound``, ``error`` on held-out images, ``trained`` (the training error) and ``order``: the rank correlation
    of bound and held-out error over the prompts that the search goes through, 0 where there is none. It needs scikit-learn.
    """

    trial = Trial({"vocabulary": 12, "examples": 60})

    unit: ClassVar[str] = "share wrong"
    better: ClassVar[str] = "lower"

    vocabulary: int = Field(100, ge=2, description="words")
    words: int = Field(2, ge=1, description="words of a prompt for each class")
    prior: Literal["words", "uniform", "floats"] = Field(
        "words", description="how likely a prompt is: by its words, all alike, as 32-bit numbers"
    )
    examples: int = Field(1000, ge=10, le=1000, description="labelled images that the search is guided by")

    def measure(self, seed: int) -> dict[str, float]:
        """``gap``, ``bound``, ``error``, ``trained`` and ``order``.

        Raises:
            UserError: where scikit-learn is missing, or the vocabulary is larger than the images that it is made of.
        """
        import numpy as np
        from scipy.stats import spearmanr

        from windtunnel.kits.image.digits import digits

        random = np.random.default_rng(seed)
        found = digits(self.name)
        order = random.permutation(len(found.target))
        images, labels = found.data[order] - found.data.mean(axis=0), found.target[order]
        unlabelled, held, train = images[1400:], slice(1000, 1400), slice(0, self.examples)
        if self.vocabulary > len(unlabelled):
            raise UserError(f"prompt-bound: a vocabulary of {self.vocabulary} words is more than its {len(unlabelled)} images")
        vectors, cost = self._vocabulary(unlabelled, seed)
        cost = {"words": cost, "uniform": np.full_like(cost, math.log(len(cost))), "floats": np.full_like(cost, FLOATS)}[self.prior]
        classes, spent, passed = np.zeros((10, images.shape[1])), 0.0, []
        for _ in range(self.words):
            for one in random.permutation(10):
                word = self._best(classes, int(one), vectors, images[train], labels[train])
                classes[one] += vectors[word]
                spent += float(cost[word])
                wrong = [_error(classes, images[place], labels[place]) for place in (train, held)]
                passed.append((bound(wrong[0], spent, self.examples), wrong[1], wrong[0]))
        told, error, trained = passed[-1]
        whole = np.array(passed[9:])  # prompts with a word for every class
        varied = len(whole) > 1 and min(np.ptp(whole[:, :2], axis=0)) > 0
        ordered = float(spearmanr(whole[:, 0], whole[:, 1]).statistic) if varied else 0.0
        return {"gap": told - error, "bound": told, "error": error, "trained": trained, "order": ordered}

    def _vocabulary(self, images: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """The vectors of length 1 of all words, and -log of the probability of each."""
        import numpy as np
        from sklearn.cluster import KMeans

        clusters = KMeans(self.vocabulary, n_init=1, random_state=seed).fit(images)
        sizes = np.bincount(clusters.labels_, minlength=self.vocabulary) + 1
        centres = clusters.cluster_centers_
        return centres / np.linalg.norm(centres, axis=1, keepdims=True), -np.log(sizes / sizes.sum())

    def _best(self, classes: np.ndarray, one: int, vectors: np.ndarray, images: np.ndarray, labels: np.ndarray) -> int:
        """The word that, added to class ``one``, leaves the fewest errors."""
        import numpy as np

        errors = []
        for vector in vectors:
            tried = classes.copy()
            tried[one] += vector
            errors.append(_error(tried, images, labels))
        return int(np.argmin(errors))


def _error(classes: np.ndarray, images: np.ndarray, labels: np.ndarray) -> float:
    """The share of ``images`` whose nearest of ``classes`` by cosine is not theirs; a class without words is never the nearest."""
    import numpy as np

    norms = np.linalg.norm(classes, axis=1)
    scores = images @ (classes / np.maximum(norms, 1e-12)[:, None]).T
    scores[:, norms == 0] = -np.inf
    return float((scores.argmax(axis=1) != labels).mean())


def bound(error: float, nats: float, examples: int) -> float:
    """What the error elsewhere is at most, but for a chance of 0.05, of a hypothesis of prior probability exp(-``nats``)."""
    from scipy.optimize import brentq

    room = (nats + math.log(2 * math.sqrt(examples) / DOUBT)) / examples

    def apart(share: float) -> float:
        parts = ((error, share), (1 - error, 1 - share))
        return sum(one * math.log(one / other) for one, other in parts if one > 0) - room

    top = 1 - 1e-9
    return 1.0 if apart(top) < 0 else float(brentq(apart, max(error, 1e-12), top))
