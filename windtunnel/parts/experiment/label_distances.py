"""Labels that a classifier never saw, told by how far they lie from those that it knows."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, model_validator

from windtunnel.core.errors import needing
from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np

    Sets = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]  # rows and labels to learn from, to be judged on; distances

WIDTH = 24  # numbers of a row of the tree
ASKED = 20  # rows of each node that are judged
BINS = 10  # classes of the target of the table of diabetes


class LabelDistances(Experiment, name="label-distances"):
    """Mean squared distance between the label that a classifier tells and the right one, where labels have distances.

    Roberts et al. 2023, arXiv:2307.12226 (Loki): ``frechet`` tells the label of least expected squared distance, argmin_y sum_i p_i
    d(y, i)^2, over all labels, while the probabilities p are of those that were trained on. So a classifier can tell labels that it never
    saw, and ``likeliest`` cannot. With ``distances: shuffled`` they are dealt to the wrong labels, a control.

    ``tree``: labels are the nodes of a binary tree of ``depth``, a row is the sum of a random vector for each node from the root down to
    its own, with ``noise``. ``observed`` leaves are trained on, and rows of all nodes are judged. (Of leaves alone none would ever be told
    that was not observed: an observed one near it lies as far from all others.) ``diabetes``: the target of that table of scikit-learn in
    ten classes, all of them observed, with the difference of their numbers as distance.
    """

    trial = Trial({"depth": 3, "observed": 3, "rows": 6})

    unit: ClassVar[str] = "squared distance"
    better: ClassVar[str] = "lower"

    data: Literal["tree", "diabetes"] = Field("tree", description="where rows come from")
    tells: Literal["likeliest", "frechet"] = Field("likeliest", description="which label is told")
    distances: Literal["right", "shuffled"] = Field("right", description="those of the labels, or dealt at random")
    depth: int = Field(5, ge=2, le=8, description="of the tree; it has two to this power leaves")
    observed: int = Field(16, ge=2, description="leaves that are trained on")
    rows: int = Field(40, ge=2, description="of each leaf that are trained on")
    noise: float = Field(0.5, ge=0, description="deviation of each number of a row")

    @model_validator(mode="after")
    def _fits(self) -> LabelDistances:
        if self.observed > 2**self.depth:
            raise ValueError(f"observed: a tree of depth {self.depth} has {2**self.depth} leaves, fewer than {self.observed}")
        return self

    def measure(self, seed: int) -> dict[str, float]:
        """``distance``, ``right`` (the share of rows), and of the tree both over rows of nodes that were not observed, with ``/unseen``.

        Raises:
            UserError: where scikit-learn is missing.
        """
        import numpy as np

        with needing(self.name, "scikit-learn", "vision"):
            from sklearn.linear_model import LogisticRegression
        random = np.random.default_rng(seed)
        known, labels, asked, wanted, apart = self._tree(random) if self.data == "tree" else self._diabetes(random)
        middle, deviation = known.mean(axis=0), np.maximum(known.std(axis=0), 1e-6)
        model = LogisticRegression(C=0.1, max_iter=500).fit((known - middle) / deviation, labels)
        odds = model.predict_proba((asked - middle) / deviation)
        order = random.permutation(len(apart)) if self.distances == "shuffled" else np.arange(len(apart))
        told = (
            model.classes_[odds.argmax(axis=1)] if self.tells == "likeliest" else nearest(odds, apart[np.ix_(order, order)][model.classes_])
        )
        off = apart[told, wanted] ** 2
        found = {"distance": float(off.mean()), "right": float((told == wanted).mean())}
        unseen = ~np.isin(wanted, model.classes_)
        if unseen.any():
            found |= {"distance/unseen": float(off[unseen].mean()), "right/unseen": float((told == wanted)[unseen].mean())}
        return found

    def _tree(self, random: np.random.Generator) -> Sets:
        import numpy as np

        apart = tree_distances(self.depth)
        vectors = random.standard_normal((len(apart), WIDTH))
        for node in range(1, len(apart)):
            vectors[node] += vectors[(node - 1) // 2]
        chosen = random.permutation(2**self.depth)[: self.observed] + 2**self.depth - 1
        labels, wanted = np.repeat(chosen, self.rows), np.repeat(np.arange(len(apart)), ASKED)
        known, asked = (vectors[which] + self.noise * random.standard_normal((len(which), WIDTH)) for which in (labels, wanted))
        return known, labels, asked, wanted, apart

    def _diabetes(self, random: np.random.Generator) -> Sets:
        import numpy as np
        from sklearn.datasets import load_diabetes

        table = load_diabetes()
        edges = np.quantile(table.target, np.arange(1, BINS) / BINS)
        labels, order = np.searchsorted(edges, table.target), random.permutation(len(table.target))
        known, asked = order[len(order) // 4 :], order[: len(order) // 4]
        apart = np.abs(np.subtract.outer(np.arange(BINS), np.arange(BINS))).astype(float)
        return table.data[known], labels[known], table.data[asked], labels[asked], apart


def tree_distances(depth: int) -> np.ndarray:
    """Edges between every two nodes of a binary tree, [nodes, nodes]; the root is 0, and the children of n are 2n + 1 and 2n + 2."""
    import numpy as np

    count = 2 ** (depth + 1) - 1
    found = np.zeros((count, count))
    for node in range(1, count):  # the way of the later of two goes through its parent
        found[node, :node] = found[:node, node] = found[(node - 1) // 2, :node] + 1
    return found


def nearest(odds: np.ndarray, apart: np.ndarray) -> np.ndarray:
    """For each row of ``odds`` [N, observed] the label of least expected squared distance; ``apart``: [observed, labels]."""
    found: np.ndarray = (odds @ apart**2).argmin(axis=1)
    return found
