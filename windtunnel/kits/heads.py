"""Heads on frozen features that meet their classes one task after the other.

Features are float64 [images, width], labels int64 [images]. Nothing that a head has met is kept beside the numbers that it counts.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from windtunnel.kits.vectors import softmax, unit

Array = NDArray[Any]
BATCH, MOMENTUM = 16, 0.9
SMALLEST = 1e-12


class ClassMeans:
    """The mean of every class. The answer is the nearest by distance, or by angle, or by distance in the pooled covariance (``lda``).

    Sums are kept, so the end does not depend on the order in which classes come. The covariance is shrunk towards a multiple of the
    identity by the oracle approximating amount of Chen et al. 2010, arXiv:0907.4698, which needs no more than these sums.
    """

    def __init__(self, by: str = "distance") -> None:
        self.by = by
        self.sums: dict[int, tuple[int, Array]] = {}
        self.products: Array | float = 0.0

    @property
    def seen(self) -> list[int]:
        """The classes met so far, in order."""
        return sorted(self.sums)

    @property
    def numbers(self) -> int:
        """How many numbers are kept."""
        return sum(1 + len(total) for _, total in self.sums.values()) + int(np.size(self.products) if self.by == "lda" else 0)

    def update(self, features: Array, labels: Array) -> None:
        """Meet a task."""
        for label in np.unique(labels).tolist():
            mine = features[labels == label]
            count, total = self.sums.get(label, (0, 0.0))
            self.sums[label] = (count + len(mine), total + mine.sum(axis=0))
        if self.by == "lda":
            self.products = self.products + features.T @ features

    def scores(self, features: Array) -> Array:
        """[images, classes], a column for each class met, in rising order of classes."""
        means = np.stack([self.sums[label][1] / self.sums[label][0] for label in self.seen])
        if self.by == "angle":
            return unit(features) @ unit(means).T
        weighted = np.linalg.solve(self._covariance(means), means.T) if self.by == "lda" else means.T
        return np.asarray(features @ weighted - 0.5 * (means.T * weighted).sum(axis=0))

    def _covariance(self, means: Array) -> Array:
        counts = np.array([self.sums[label][0] for label in self.seen], np.float64)
        free, size = max(1.0, counts.sum() - len(counts)), means.shape[1]
        pooled = (self.products - (means.T * counts) @ means) / free
        trace, square = np.trace(pooled), float((pooled**2).sum())
        above = (1 - 2 / size) * square + trace**2
        below = (free + 1 - 2 / size) * (square - trace**2 / size)
        shrunk = 1.0 if below <= 0 else min(1.0, above / below)
        return np.asarray((1 - shrunk) * pooled + (shrunk * trace / size + SMALLEST) * np.eye(size))


class TaskLayer:
    """One layer trained by stochastic gradient descent on the task at hand: what forgets.

    With ``replay`` (SLCA, Zhang et al. 2023, arXiv:2303.05118) the layer of each task learns among the classes of that task, and is then
    aligned with vectors drawn from a Gaussian of every class met so far: of the mean and covariance of its features, the mean of the
    oldest task shrunk to 0.9 as in its code; logits are brought to one norm and divided by 0.1.
    """

    DRAWN, ALIGNED, TEMPERATURE = 256, 5, 0.1

    def __init__(self, *, rate: float, epochs: int, random: np.random.Generator, replay: bool = False) -> None:
        self.rate, self.epochs, self.random, self.replay = rate, epochs, random, replay
        self.seen: list[int] = []
        self.weight: Array = np.zeros((0, 0))
        self.scale = 1.0
        self.classes: dict[int, tuple[int, Array, Array]] = {}  # the task that brought it, mean, root of the covariance
        self.tasks: list[list[int]] = []

    @property
    def numbers(self) -> int:
        """How many numbers are kept."""
        return self.weight.size + sum(mean.size + root.size for _, mean, root in self.classes.values())

    def update(self, features: Array, labels: Array) -> None:
        """Meet a task."""
        if not self.seen:
            self.scale = float(np.sqrt((features**2).sum(axis=1).mean())) or 1.0
            self.weight = np.zeros((0, features.shape[1] + 1))
        new = [label for label in np.unique(labels).tolist() if label not in self.seen]
        self.seen += new
        self.tasks.append(new)
        self.weight = np.concatenate([self.weight, np.zeros((len(new), self.weight.shape[1]))])
        inputs, places = self._inputs(features), np.array([self.seen.index(label) for label in labels.tolist()])
        own = np.unique(places) if self.replay else np.arange(len(self.seen))
        self._descend(inputs, places, self.epochs, own)
        if self.replay:
            self._remember(inputs[:, :-1], labels, new)
            if len(self.tasks) > 1:
                self._align()

    def scores(self, features: Array) -> Array:
        """[images, classes], a column for each class met, in rising order of classes."""
        order = np.argsort(self.seen)
        return np.asarray(self._inputs(features) @ self.weight[order].T)

    def _inputs(self, features: Array) -> Array:
        return np.concatenate([features / self.scale, np.ones((len(features), 1))], axis=1)

    def _descend(self, inputs: Array, places: Array, epochs: int, among: Array, even: bool = False) -> None:
        """Cross entropy among the rows ``among`` of the weight; cosine schedule."""
        moved, step = np.zeros_like(self.weight), 0
        steps = epochs * -(-len(inputs) // BATCH)
        for _ in range(epochs):
            order = self.random.permutation(len(inputs))
            for begin in range(0, len(order), BATCH):
                chosen = order[begin : begin + BATCH]
                logits = inputs[chosen] @ self.weight[among].T
                divided = self._norm(logits) if even else 1.0
                odds = softmax(logits / divided)
                odds[np.arange(len(chosen)), np.searchsorted(among, places[chosen])] -= 1
                moved *= MOMENTUM
                moved[among] += (odds / divided).T @ inputs[chosen] / len(chosen)
                self.weight -= self.rate * 0.5 * (1 + math.cos(math.pi * step / steps)) * moved
                step += 1

    def _norm(self, logits: Array) -> Array:
        """The mean over tasks of the norm of their logits, over the temperature: [images, 1], taken as a constant."""
        ends = np.cumsum([len(task) for task in self.tasks])[:-1]
        norms = [np.linalg.norm(part, axis=1) for part in np.split(logits, ends, axis=1)]
        return np.asarray(self.TEMPERATURE * np.maximum(np.mean(norms, axis=0), 1e-7 / self.TEMPERATURE))[:, None]

    def _remember(self, inputs: Array, labels: Array, new: list[int]) -> None:
        for label in new:
            mine = inputs[labels == label]
            covariance = np.cov(mine, rowvar=False, bias=True) + 1e-4 * np.eye(inputs.shape[1])
            self.classes[label] = (len(self.tasks) - 1, mine.mean(axis=0), np.linalg.cholesky(covariance))

    def _align(self) -> None:
        inputs, places = [], []
        for place, label in enumerate(self.seen):
            task, mean, root = self.classes[label]
            shrunk = 0.9 + 0.1 * (task + 1) / len(self.tasks)
            drawn = shrunk * mean + self.random.standard_normal((self.DRAWN, len(mean))) @ root.T
            inputs.append(np.concatenate([drawn, np.ones((self.DRAWN, 1))], axis=1))
            places.append(np.full(self.DRAWN, place))
        self._descend(np.concatenate(inputs), np.concatenate(places), self.ALIGNED, np.arange(len(self.seen)), even=True)


class KeyValue:
    """Tables of values at fixed keys: the discrete key-value bottleneck of Träuble et al. 2023, arXiv:2207.11240.

    Each of ``books`` projects the features to ``width`` numbers, finds the nearest of its ``keys`` and gives the value there, a number a
    class; logits are the mean over books. Only values are trained, by plain stochastic gradient descent from zero, so what was not fetched
    does not change. With ``votes`` the values are the shares of the classes that fell to a key, counted in one pass.

    Keys are set on ``unlabelled`` features before any class is met, as in the paper.
    """

    ROUNDS = 5

    def __init__(
        self, unlabelled: Array, *, books: int, keys: int, width: int, rate: float, epochs: int, random: np.random.Generator, votes: bool
    ) -> None:
        self.rate, self.epochs, self.random, self.votes = rate, epochs, random, votes
        self.projections = random.standard_normal((books, unlabelled.shape[1], width))
        self.projections /= np.linalg.norm(self.projections, axis=1, keepdims=True)
        self.keys = np.stack([self._keys(unlabelled @ one, keys) for one in self.projections])
        self.seen: list[int] = []
        self.values: Array = np.zeros((books, self.keys.shape[1], 0))

    @property
    def numbers(self) -> int:
        """How many numbers are kept."""
        return self.values.size + self.keys.size + self.projections.size

    def _keys(self, points: Array, count: int) -> Array:
        """Centres by Lloyd's rounds; one that is nearest to nothing is put on a point at random."""
        found = points[self.random.permutation(len(points))[:count]].copy()
        for _ in range(self.ROUNDS):
            nearest = _nearest(points, found)
            for place in range(len(found)):
                mine = points[nearest == place]
                found[place] = mine.mean(axis=0) if len(mine) else points[self.random.integers(len(points))]
        return found

    def _fetched(self, features: Array) -> Array:
        """The place of the nearest key in every book: [images, books]."""
        pairs = zip(self.projections, self.keys, strict=True)
        return np.stack([_nearest(features @ projection, keys) for projection, keys in pairs], axis=1)

    def update(self, features: Array, labels: Array) -> None:
        """Meet a task."""
        new = [label for label in np.unique(labels).tolist() if label not in self.seen]
        self.seen += new
        self.values = np.concatenate([self.values, np.zeros((*self.values.shape[:2], len(new)))], axis=2)
        places, fetched = np.array([self.seen.index(label) for label in labels.tolist()]), self._fetched(features)
        books = np.arange(len(self.keys))[None, :]
        if self.votes:
            np.add.at(self.values, (books, fetched, places[:, None]), 1.0)
            return
        for _ in range(self.epochs):
            order = self.random.permutation(len(features))
            for begin in range(0, len(order), BATCH):
                chosen = order[begin : begin + BATCH]
                odds = softmax(self.values[books, fetched[chosen]].mean(axis=1))
                odds[np.arange(len(chosen)), places[chosen]] -= 1
                np.add.at(self.values, (books, fetched[chosen]), -self.rate * odds[:, None, :] / len(chosen))

    def scores(self, features: Array) -> Array:
        """[images, classes], a column for each class met, in rising order of classes."""
        values = self.values
        if self.votes:
            values = values / np.maximum(values.sum(axis=2, keepdims=True), 1.0)
        found = values[np.arange(len(self.keys))[None, :], self._fetched(features)].mean(axis=1)
        return np.asarray(found[:, np.argsort(self.seen)])


def _nearest(points: Array, keys: Array) -> Array:
    return np.asarray(((keys**2).sum(axis=1) - 2 * points @ keys.T).argmin(axis=1))


def discriminants(shown: Array, labels: Array, asked: Array, *, whole: bool) -> Array:
    """Linear discriminants [N, classes] of ``asked`` [N, d], from ``shown`` with labels from 0; with ``whole`` false by distance alone."""
    means = np.stack([shown[labels == label].mean(axis=0) for label in range(labels.max() + 1)])
    count, size = shown.shape
    if whole:
        rest = shown - means[labels]
        pooled = rest.T @ rest / max(1, count - 1)
        precision = size * np.linalg.inv((count - 1) * pooled + max(np.trace(pooled), 1e-9) * np.eye(size))
    else:
        precision = np.eye(size)
    weighted = means @ precision
    found: Array = asked @ weighted.T - 0.5 * (means * weighted).sum(axis=1)
    return found
