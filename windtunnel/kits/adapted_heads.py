"""Heads that train a small adapter on frozen features, with classes that come one task after the other.

Features are float64 [images, width], labels int64 [images]; heads are those of ``kits.heads``: ``update`` meets a task, ``scores`` answers.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from windtunnel.kits.heads import BATCH, MOMENTUM, ClassMeans
from windtunnel.kits.vectors import softmax

Array = NDArray[Any]


class Bottleneck:
    """A residual bottleneck on features, ``x + relu(x A') B'``, that begins as the identity."""

    def __init__(self, width: int, inner: int, random: np.random.Generator) -> None:
        self.down = random.standard_normal((inner, width)) / math.sqrt(width)
        self.up = np.zeros((width, inner))

    def copy(self) -> Bottleneck:
        """The same numbers in arrays of their own."""
        found = object.__new__(Bottleneck)
        found.down, found.up = self.down.copy(), self.up.copy()
        return found

    def __call__(self, features: Array) -> Array:
        """[images, width]."""
        return np.asarray(features + np.maximum(features @ self.down.T, 0) @ self.up.T)

    def gradients(self, features: Array, back: Array) -> tuple[Array, Array]:
        """Those of ``down`` and ``up`` where ``back`` [images, width] is the gradient of the adapted features."""
        inner = np.maximum(features @ self.down.T, 0)
        return ((back @ self.up) * (inner > 0)).T @ features, back.T @ inner


class AdaptedLayer:
    """One layer behind an adapter, both trained on the task at hand among its classes.

    As in LAE (Gao et al. 2023, arXiv:2303.10070) where the slow copy is asked: from the second task on the adapter waits for three fifths
    of the passes while the layer learns, and a slow copy of it, born then, follows it after every step, by a tenth in a task. The answer is
    the class with the highest probability with either adapter (``both``), with the slow one (``slow``) or with the one that learns
    (``quick``).
    """

    WAITS, FOLLOWS = 0.6, 0.1

    def __init__(
        self, *, rate: float, epochs: int, inner: int, random: np.random.Generator, keeps: Literal["quick", "slow", "both"] = "quick"
    ) -> None:
        self.rate, self.epochs, self.inner, self.random, self.keeps = rate, epochs, inner, random, keeps
        self.seen: list[int] = []
        self.scale, self.met = 1.0, 0

    @property
    def numbers(self) -> int:
        """How many numbers it answers from."""
        return self.weight.size + (2 if self.keeps == "both" else 1) * (self.adapter.down.size + self.adapter.up.size)

    def update(self, features: Array, labels: Array) -> None:
        """Meet a task."""
        if not self.met:
            self.scale = float(np.sqrt((features**2).sum(axis=1).mean())) or 1.0
            self.adapter = Bottleneck(features.shape[1], self.inner, self.random)
            self.weight: Array = np.zeros((0, features.shape[1] + 1))
        if self.met == 1:
            self.slow = self.adapter.copy()
        new = [label for label in np.unique(labels).tolist() if label not in self.seen]
        self.seen += new
        self.weight = np.concatenate([self.weight, np.zeros((len(new), self.weight.shape[1]))])
        self._descend(features / self.scale, np.array([self.seen.index(label) for label in labels.tolist()]))
        self.met += 1

    def adapted(self, features: Array) -> Array:
        """What the adapter that learns makes of features."""
        return self.adapter(features / self.scale)

    def scores(self, features: Array) -> Array:
        """[images, classes], a column for each class met, in rising order of classes."""
        quick, slow = self.adapter, self.slow if self.met > 1 else self.adapter
        adapters = {"quick": (quick,), "slow": (slow,), "both": (quick, slow)}[self.keeps]
        order = np.argsort(self.seen)
        return np.max([softmax(_with_one(each(features / self.scale)) @ self.weight[order].T) for each in adapters], axis=0)

    def _descend(self, inputs: Array, places: Array) -> None:
        """Cross entropy among the classes of the task; stochastic gradient descent with a cosine schedule."""
        own = np.unique(places)
        held = [self.weight, self.adapter.down, self.adapter.up]
        moved, step = [np.zeros_like(one) for one in held], 0
        each = -(-len(inputs) // BATCH)
        waits = self.keeps != "quick" and self.met > 0
        for epoch in range(self.epochs):
            order = self.random.permutation(len(inputs))
            for begin in range(0, len(order), BATCH):
                chosen = order[begin : begin + BATCH]
                adapted = _with_one(self.adapter(inputs[chosen]))
                odds = softmax(adapted @ self.weight[own].T)
                odds[np.arange(len(chosen)), np.searchsorted(own, places[chosen])] -= 1
                odds /= len(chosen)
                whole = np.zeros_like(self.weight)
                whole[own] = odds.T @ adapted
                down, up = self.adapter.gradients(inputs[chosen], odds @ self.weight[own, :-1])
                frozen = waits and epoch < self.WAITS * self.epochs
                rate = self.rate * 0.5 * (1 + math.cos(math.pi * step / (each * self.epochs)))
                for place, gradient in enumerate((whole, down, up)):
                    if place and frozen:
                        continue
                    moved[place] = MOMENTUM * moved[place] + gradient
                    held[place] -= rate * moved[place]
                if self.met > 0:
                    share = self.FOLLOWS / (each * self.epochs)
                    self.slow.down += share * (self.adapter.down - self.slow.down)
                    self.slow.up += share * (self.adapter.up - self.slow.up)
                step += 1


class AdaptedMeans:
    """Means by angle on features beside what an adapter makes of them that was trained on the first task alone.

    Zhou et al. 2023, arXiv:2303.07338 (APER). With ``trained`` false a random layer takes the place of the adapter.
    """

    def __init__(self, *, rate: float, epochs: int, inner: int, random: np.random.Generator, trained: bool = True) -> None:
        self.layer = AdaptedLayer(rate=rate, epochs=epochs, inner=inner, random=random)
        self.means, self.trained, self.random = ClassMeans("angle"), trained, random
        self.mixing: Array | None = None

    @property
    def seen(self) -> list[int]:
        """The classes met so far, in order."""
        return self.means.seen

    @property
    def numbers(self) -> int:
        """How many numbers are kept."""
        return self.means.numbers + (self.layer.numbers if self.trained else 0 if self.mixing is None else self.mixing.size)

    def update(self, features: Array, labels: Array) -> None:
        """Meet a task."""
        if not self.seen and self.trained:
            self.layer.update(features, labels)
        elif not self.seen:
            self.mixing = self.random.standard_normal((features.shape[1], features.shape[1])) / math.sqrt(features.shape[1])
        self.means.update(self._beside(features), labels)

    def scores(self, features: Array) -> Array:
        """[images, classes], a column for each class met, in rising order of classes."""
        return self.means.scores(self._beside(features))

    def _beside(self, features: Array) -> Array:
        if self.mixing is not None:
            return np.concatenate([features, np.maximum(features @ self.mixing, 0)], axis=1)
        return np.concatenate([features / self.layer.scale, self.layer.adapted(features)], axis=1)


def _with_one(rows: Array) -> Array:
    return np.concatenate([rows, np.ones((len(rows), 1))], axis=1)
