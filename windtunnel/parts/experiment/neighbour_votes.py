"""Labels bought where a classifier is unsure, and labels that it gives itself where its neighbours agree."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np


class NeighbourVotes(Experiment, name="neighbour-votes"):
    """Accuracy on digits after rounds of buying labels, with or without labels of the classifier's own between them.

    Schröder and Heyer 2024, arXiv:2406.09206 (HAST): every round buys the labels of the digits whose two likeliest classes are nearest
    (breaking ties; ``random`` buys any), and then takes as labelled those of which the classifier is sure of more than a half and most of
    whose 14 neighbours it gives the same class; these count ``share`` as much as bought ones, by class the more the rarer.
    ``sure`` takes those above ``threshold`` without asking neighbours, ``none`` takes no labels of its own.

    The classifier is a ridge regression to classes on 300 random features, its probabilities a softmax. The numbers are ``accuracy`` on
    held-out digits after the last round; ``area``, the mean over rounds; ``precision``, the share of own labels that are right; and
    ``taken``, how many there are, both of the last round.
    """

    trial = Trial({"rounds": 1})

    unit: ClassVar[str] = "share right"
    better: ClassVar[str] = "higher"

    own: Literal["none", "sure", "votes"] = Field("none", description="labels that the classifier gives itself")
    buys: Literal["ties", "random"] = Field("ties", description="which labels are bought")
    first: int = Field(20, ge=10, description="labels at first, two of each digit and others at random")
    rounds: int = Field(5, ge=1, description="rounds of buying")
    bought: int = Field(10, ge=1, description="labels of a round")
    threshold: float = Field(0.9, gt=0, lt=1, description="of `sure`")
    share: float = Field(0.1, gt=0, le=1, description="how much an own label counts, over a bought one")

    def measure(self, seed: int) -> dict[str, float]:
        """``accuracy``, ``area``, ``precision`` and ``taken``."""
        import numpy as np

        from windtunnel.kits.image.digits import digits

        found, random = digits(self.name), np.random.default_rng(seed)
        held = random.random(len(found.target)) < 0.3
        images, labels = found.data / 16, found.target
        planes, turns = random.standard_normal((64, 300)), random.uniform(0, 2 * np.pi, 300)
        features = np.cos(images @ planes / 3 + turns)
        pool, right = np.nonzero(~held)[0], []
        known = np.concatenate([random.permutation(pool[labels[pool] == digit])[:2] for digit in range(10)])
        known = np.union1d(known, random.choice(np.setdiff1d(pool, known), max(0, self.first - len(known)), replace=False))
        taken, given = np.zeros(0, int), np.zeros(0, int)
        for number in range(self.rounds + 1):
            weights = self._fitted(features, labels, known, taken, given)
            right.append((likely(features[held], weights).argmax(axis=1) == labels[held]).mean())
            rest = np.setdiff1d(pool, known)
            shares = likely(features[rest], weights)
            taken, given = self._taken(rest, shares, features)
            weights = self._fitted(features, labels, known, taken, given)
            if number < self.rounds:
                two = np.sort(likely(features[rest], weights), axis=1)[:, -2:]
                order = random.permutation(len(rest)) if self.buys == "random" else np.argsort(two[:, 1] - two[:, 0])
                known = np.union1d(known, rest[order[: self.bought]])
        weights = self._fitted(features, labels, known, taken, given)
        accuracy = float((likely(features[held], weights).argmax(axis=1) == labels[held]).mean())
        precision = float((labels[taken] == given).mean()) if len(taken) else 0.0
        return {"accuracy": accuracy, "area": float(np.mean(right)), "precision": precision, "taken": float(len(taken))}

    def _taken(self, rest: np.ndarray, shares: np.ndarray, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Which digits the classifier labels itself, and how."""
        import numpy as np

        guess, sure = shares.argmax(axis=1), shares.max(axis=1)
        if self.own == "none":
            return np.zeros(0, int), np.zeros(0, int)
        able = sure > (self.threshold if self.own == "sure" else 0.5)
        if self.own == "votes":
            able &= agreed(features[rest], guess, 14)
        return rest[able], guess[able]

    def _fitted(self, features: np.ndarray, labels: np.ndarray, known: np.ndarray, taken: np.ndarray, given: np.ndarray) -> np.ndarray:
        """Weights [301, 10] of a ridge regression on bought labels and own ones."""
        import numpy as np

        rows = np.concatenate([known, taken])
        classes = np.concatenate([labels[known], given])
        counts = np.bincount(given, minlength=10)
        rare = 10 / (1 + np.exp(-(counts.mean() - counts) / np.maximum(counts, 1))) if len(given) else np.ones(10)
        weight = np.concatenate([np.ones(len(known)), self.share * rare[given] / 5])
        inputs = np.concatenate([features[rows], np.ones((len(rows), 1))], axis=1)
        scaled = inputs * weight[:, None]
        return np.asarray(np.linalg.solve(inputs.T @ scaled + 1.0 * np.eye(inputs.shape[1]), scaled.T @ np.eye(10)[classes]))


def agreed(features: np.ndarray, guess: np.ndarray, neighbours: int) -> np.ndarray:
    """Where more than half of the nearest of the others have the same ``guess`` [rows]."""
    import numpy as np

    square = (features**2).sum(axis=1)
    apart = square[:, None] + square - 2 * features @ features.T
    np.fill_diagonal(apart, np.inf)
    near = np.argpartition(apart, min(neighbours, len(guess) - 1) - 1, axis=1)[:, :neighbours]
    return np.asarray((guess[near] == guess[:, None]).mean(axis=1) > 0.5)


def likely(features: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Probabilities [rows, 10]."""
    from windtunnel.kits.vectors import softmax

    return softmax(6 * (features @ weights[:-1] + weights[-1]))
