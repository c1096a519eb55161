"""Choosing documents cluster by cluster, as a bandit tries its arms: what is good so far, and what was tried seldom."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from windtunnel.core.errors import PartError


class Chosen(NamedTuple):
    """Which documents ``stays`` (bool), the mean influence of what was read of each cluster (``means``), and how many were ``read``.

    Clusters whose mean is above ``threshold`` are good; what goes of those goes because the room was used up.
    """

    stays: np.ndarray
    means: np.ndarray
    read: int
    threshold: float


def choose(
    cluster: np.ndarray,
    characters: np.ndarray,
    influence: Callable[[Sequence[int]], Sequence[float]],
    *,
    keep: float,
    sample: int,
    block: int,
    explore: float,
    random: np.random.Generator,
) -> Chosen:
    """Documents of the share ``keep`` of the characters, until one would pass it; at least one.

    Every cluster is tried once: ``sample`` of its documents are read. The mean, weighted by the size of clusters, is the threshold. Then
    the cluster of the highest mean + ``explore`` * spread * sqrt(2 ln(all tries) / its tries) is tried: if the mean of the next ``sample``
    is above the threshold, these and the next ``block`` stay. What was read of a cluster that is good counts as good, the first sample too.
    When all clusters are used up, those that were read and refused fill up, best first.

    Raises:
        PartError: where an influence is no number.
    """
    waiting = {one: random.permutation(np.flatnonzero(cluster == one)).tolist() for one in np.unique(cluster).tolist()}
    arms = _Arms(waiting, influence, sample, {}, {one: [] for one in waiting})
    first = {one: arms.read(one)[0] for one in waiting}
    sizes = np.bincount(cluster, minlength=int(cluster.max()) + 1)
    threshold = sum(arms.tried[one][0] * sizes[one] for one in waiting) / len(cluster)
    curiosity = explore * float(np.std(list(arms.known.values())))
    shelf = _Shelf(characters, np.zeros(len(cluster), bool), keep * float(characters.sum()) * (1 + 1e-9))
    more = True
    for one in sorted(first, key=lambda one: -arms.tried[one][0]):
        more = more and (arms.tried[one][0] <= threshold or shelf.accept(first[one]))
    while more and any(waiting.values()):
        best = arms.likeliest(curiosity)
        places, mean = arms.read(best)
        if mean > threshold:
            further = [waiting[best].pop() for _ in range(min(block, len(waiting[best])))]
            more = shelf.accept([*places, *further])
    if more:
        shelf.accept(sorted((place for place in arms.known if not shelf.stays[place]), key=lambda place: -arms.known[place]))
    means = np.zeros(len(sizes))
    for one, values in arms.tried.items():
        means[one] = float(np.mean(values))
    return Chosen(shelf.stays, means, len(arms.known), float(threshold))


@dataclass
class _Arms:
    """The documents of each cluster that are ``waiting``, the influences that are ``known``, and the means of what was ``tried``."""

    waiting: dict[int, list[int]]
    influence: Callable[[Sequence[int]], Sequence[float]]
    sample: int
    known: dict[int, float]
    tried: dict[int, list[float]]

    def read(self, one: int) -> tuple[list[int], float]:
        """The next documents of cluster ``one``, and the mean of their influence."""
        places = [self.waiting[one].pop() for _ in range(min(self.sample, len(self.waiting[one])))]
        found = self.influence(places)
        if bad := sum(not math.isfinite(value) for value in found):
            raise PartError(f"the influence of {bad:,} of {len(found):,} documents is not a number, so nothing can be chosen by it")
        self.known.update(zip(places, found, strict=True))
        self.tried[one].append(float(np.mean(found)))
        return places, self.tried[one][-1]

    def likeliest(self, curiosity: float) -> int:
        """Of the clusters that have documents left the one to try next."""
        tries = sum(map(len, self.tried.values()))
        bonus = {one: curiosity * math.sqrt(2 * math.log(tries) / len(self.tried[one])) for one in self.waiting if self.waiting[one]}
        return max(bonus, key=lambda one: float(np.mean(self.tried[one])) + bonus[one])


@dataclass
class _Shelf:
    """Which documents stay, and the ``room`` in characters that is left."""

    characters: np.ndarray
    stays: np.ndarray
    room: float

    def accept(self, places: Sequence[int]) -> bool:
        """Let ``places`` stay until one has no room; whether all did."""
        for place in places:
            if self.stays.any() and self.characters[place] > self.room:
                return False
            self.stays[place] = True
            self.room -= float(self.characters[place])
        return True
