"""In which order classes are best learned, one at a time and in one pass, and whether their likeness foretells it."""

from __future__ import annotations

from itertools import permutations, product
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np


class ClassOrders(Experiment, name="class-orders"):
    """The rank correlation of a score of orders, from distances of class means, with the accuracy that each order leads to.

    Singh et al. 2023, "Learning to Learn: How to Continuously Teach Humans and Machines", arXiv:2211.15470. Five classes of
    scikit-learn's digits come one after the other, each image once, to a linear layer; all 120 orders are learned ``repeats`` times. The
    designer scores an order from the cosine distances of class means by two terms, a reconstruction from second-hand descriptions: how
    central the classes at the beginning are, and how near the last are to the first. Their signs are chosen on the five other classes.

    ``learner``: ``naive`` gradient descent or ``replay``, which learns beside each image one of those kept, 10 a class. ``score``: the
    ``designer``'s, ``central`` or ``near`` alone, or ``neighbours``, the sum of distances of classes that follow each other; ``random``
    numbers are the null. ``correlation`` is Spearman's between the score and the mean accuracy over repeats; ``spread`` the standard
    deviation over orders of that mean and ``noise`` that of one order's mean over repeats; ``accuracy`` the mean of all, ``best`` that of
    the order with the highest score.
    """

    trial = Trial({"images": 2, "repeats": 2})

    unit: ClassVar[str] = "rank correlation"
    better: ClassVar[str] = "higher"

    score: Literal["designer", "central", "near", "neighbours", "random"] = Field("designer", description="what orders are ranked by")
    learner: Literal["naive", "replay"] = Field("naive", description="what learns")
    images: int = Field(30, ge=1, le=80, description="of each class")
    repeats: int = Field(3, ge=2, description="of every order, with other images in another order")
    rate: float = Field(0.003, gt=0, description="of gradient descent")

    def measure(self, seed: int) -> dict[str, float]:
        """The numbers above."""
        import numpy as np
        from scipy.stats import spearmanr

        from windtunnel.kits.image.tiny import dealt

        random = np.random.default_rng(seed)
        data = dealt(self.name, random)
        images, labels, order = data.images.numpy(), data.labels.numpy(), random.permutation(10)
        orders = np.array(list(permutations(range(5))))
        found = []
        for classes in (order[:5], order[5:]):
            means = np.stack([images[data.train.numpy()][labels[data.train.numpy()] == label].mean(axis=0) for label in classes])
            each = np.stack([self._learned(images, labels, classes, data, orders, random) for _ in range(self.repeats)])
            found.append((self._terms(means, orders, random), each))
        (terms, each), (others, of_others) = found
        signs = max(
            product((-1, 1), repeat=len(terms)),
            key=lambda tried: float(spearmanr(np.dot(tried, others), of_others.mean(axis=0)).statistic),
        )
        score, accuracy = np.dot(signs, terms), each.mean(axis=0)
        return {
            "correlation": float(spearmanr(score, accuracy).statistic),
            "spread": float(accuracy.std(ddof=1)),
            "noise": float(np.sqrt(each.var(axis=0, ddof=1).mean() / self.repeats)),
            "accuracy": float(accuracy.mean()),
            "best": float(accuracy[score.argmax()]),
        }

    def _terms(self, means: np.ndarray, orders: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """[terms, orders], each of mean 0 and standard deviation 1."""
        import numpy as np

        from windtunnel.kits.vectors import unit

        away = 1 - unit(means) @ unit(means).T
        ahead = np.array([2.0, 1.0, 0.0, -1.0, -2.0])  # the weight of the first place, and so on
        central = (-away.sum(axis=1))[orders] @ ahead
        near = -np.stack([away[orders[:, 0], orders[:, place]] * place for place in range(1, 5)]).sum(axis=0)
        chosen = {
            "designer": [central, near],
            "central": [central],
            "near": [near],
            "neighbours": [np.stack([away[orders[:, place], orders[:, place + 1]] for place in range(4)]).sum(axis=0)],
            "random": [random.standard_normal(len(orders))],
        }[self.score]
        return np.stack([(term - term.mean()) / term.std() for term in chosen])

    def _learned(self, images: np.ndarray, labels: np.ndarray, classes: np.ndarray, data, orders: np.ndarray, random) -> np.ndarray:  # type: ignore[no-untyped-def]
        """The accuracy over all five classes after each order [orders]: all orders are learned side by side."""
        import numpy as np

        from windtunnel.kits.vectors import softmax

        train, held = data.train.numpy(), data.held.numpy()
        shown = np.stack([images[random.choice(train[labels[train] == label], self.images, replace=False)] for label in classes])
        weight = np.zeros((len(orders), 5, 65))
        every, lines = np.arange(len(orders)), np.ones((len(orders), 1))

        def step(inputs: np.ndarray, wanted: np.ndarray) -> None:
            inputs = np.concatenate([inputs, lines], axis=1)
            logits = np.einsum("oci,oi->oc", weight, inputs)
            odds = softmax(logits)
            odds[every, wanted] -= 1
            np.subtract(weight, self.rate * odds[:, :, None] * inputs[:, None, :], out=weight)

        for place in range(5):
            for image in range(self.images):
                step(shown[orders[:, place], image], orders[:, place])
                if self.learner == "replay" and place:
                    old = orders[every, random.integers(place, size=len(orders))]
                    step(shown[old, random.integers(min(10, self.images), size=len(orders))], old)
        asked = held[np.isin(labels[held], classes)]
        wanted = np.array([list(classes).index(label) for label in labels[asked]])
        inputs = np.concatenate([images[asked], np.ones((len(asked), 1))], axis=1)
        return np.asarray((np.einsum("oci,ni->onc", weight, inputs).argmax(axis=2) == wanted).mean(axis=1))
