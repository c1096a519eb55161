"""Choosing documents cluster by cluster, as a bandit tries its arms: what is good so far, and what was tried seldom."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
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
    known: dict[int, float] = {}
    tried: dict[int, list[float]] = {one: [] for one in waiting}
    count = int(cluster.max()) + 1

    def read(one: int) -> tuple[list[int], float]:
        places = [waiting[one].pop() for _ in range(min(sample, len(waiting[one])))]
        found = influence(places)
        if bad := sum(not math.isfinite(value) for value in found):
            raise PartError(f"the influence of {bad:,} of {len(found):,} documents is not a number, so nothing can be chosen by it")
        known.update(zip(places, found, strict=True))
        tried[one].append(float(np.mean(found)))
        return places, tried[one][-1]

    first = {one: read(one)[0] for one in waiting}
    sizes = np.bincount(cluster, minlength=count)
    threshold = sum(tried[one][0] * sizes[one] for one in tried) / len(cluster)
    spread = float(np.std(list(known.values())))
    stays, room = np.zeros(len(cluster), bool), keep * float(characters.sum()) * (1 + 1e-9)

    def accept(places: Sequence[int]) -> bool:
        nonlocal room
        for place in places:
            if stays.any() and characters[place] > room:
                return False
            stays[place] = True
            room -= float(characters[place])
        return True

    more = True
    for one in sorted(first, key=lambda one: -tried[one][0]):
        more = more and (tried[one][0] <= threshold or accept(first[one]))
    while more and any(waiting.values()):
        tries = sum(map(len, tried.values()))
        bonus = {one: explore * spread * math.sqrt(2 * math.log(tries) / len(tried[one])) for one in waiting if waiting[one]}
        best = max(bonus, key=lambda one: float(np.mean(tried[one])) + bonus[one])
        places, mean = read(best)
        if mean > threshold:
            further = [waiting[best].pop() for _ in range(min(block, len(waiting[best])))]
            more = accept([*places, *further])
    if more:
        accept(sorted((place for place in known if not stays[place]), key=lambda place: -known[place]))
    means = np.zeros(count)
    for one, values in tried.items():
        means[one] = float(np.mean(values))
    return Chosen(stays, means, len(known), float(threshold))
