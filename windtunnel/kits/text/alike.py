"""Which sets of shingles are alike: MinHash and banding propose pairs, exact Jaccard similarity decides, likeness is transitive.

Broder 1997, "On the resemblance and containment of documents"; Indyk and Motwani 1998; Lee et al. 2021, arXiv:2107.06499. The shingles are
hashed once, for the signatures and for the comparison, which a library of signatures alone (Daft, rensa, datasketch) would do twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from windtunnel.kits.text.words import Ragged, mixed

HASHES = 64
MARGIN, RECALL = 0.05, 0.995  # of pairs this far above the threshold so many are proposed
EVERY = 48  # documents that share a band are all compared with each other up to so many; beyond, each with what begins a group
_SEED = 0x5EED


def band_rows(threshold: float) -> int:
    """How many hashes make a band: the most with which a pair of similarity ``threshold`` + 0.05 is proposed with probability 0.995."""
    above = min(1.0, threshold + MARGIN)
    good = [rows for rows in range(1, HASHES + 1) if 1 - (1 - above**rows) ** (HASHES // rows) >= RECALL]
    return max(good, default=1)


def bands(sets: Ragged, threshold: float) -> np.ndarray:
    """Keys of the bands of each set, uint64 [sets, bands]; two sets are compared where they agree in one. No set is empty."""
    rows = band_rows(threshold)
    begins = np.concatenate([[0], sets.ends[:-1]]).astype(np.int64)
    found = np.zeros((len(sets.ends), HASHES // rows), np.uint64)
    multipliers = np.random.default_rng(_SEED).integers(1 << 62, size=HASHES, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    with np.errstate(over="ignore"):
        for band in range(found.shape[1]):
            key = np.full(len(sets.ends), np.uint64(band))
            for multiplier in multipliers[band * rows : (band + 1) * rows]:
                key = mixed(key ^ np.minimum.reduceat((sets.values * multiplier) >> np.uint64(16), begins))
            found[:, band] = key
    return found


def jaccard(one: np.ndarray, other: np.ndarray) -> float:
    """The exact Jaccard similarity of two sorted arrays without repetition; 1 where both are empty."""
    if not len(one) or not len(other):
        return float(len(one) == len(other))
    if len(one) > len(other):
        one, other = other, one
    place = np.minimum(np.searchsorted(other, one), len(other) - 1)
    shared = int((other[place] == one).sum())
    return shared / (len(one) + len(other) - shared)


class Groups:
    """Which of ``count`` things belong together, as pairs are joined (union and find); the first of a group stands for it."""

    def __init__(self, count: int) -> None:
        self.parent = np.arange(count, dtype=np.int64)

    def first(self, one: int) -> int:
        """The first thing of the group of ``one``."""
        parent = self.parent
        while parent[one] != one:
            parent[one] = parent[parent[one]]
            one = int(parent[one])
        return one

    def join(self, one: int, other: int) -> None:
        """Put two groups together."""
        one, other = sorted((self.first(one), self.first(other)))
        self.parent[other] = one

    def firsts(self) -> np.ndarray:
        """The first thing of the group of each, int64 [count]."""
        while True:
            up = self.parent[self.parent]
            if (up == self.parent).all():
                return up
            self.parent = up


def grouped(
    keys: Callable[[int], np.ndarray], bands: int, sizes: np.ndarray, alike: Callable[[int, int], bool], threshold: float
) -> Groups:
    """The groups of sets that are alike, directly or through others.

    Args:
        keys: the key of every set in one band.
        bands: how many there are.
        sizes: how many shingles each set has.
        alike: whether two sets are; asked once at most for a pair that is not joined already.
        threshold: the least similarity; sets whose sizes rule it out are not compared.
    """
    groups = Groups(len(sizes))
    asked: set[int] = set()
    count = len(sizes)

    def compared(one: int, other: int) -> None:
        small, large = sorted((int(sizes[one]), int(sizes[other])))
        if small < threshold * large or groups.first(one) == groups.first(other) or (pair := one * count + other) in asked:
            return
        asked.add(pair)
        if alike(one, other):
            groups.join(one, other)

    for band in range(bands):
        for members in _together(keys(band)):
            if len(members) <= EVERY:
                for place, one in enumerate(members):
                    for other in members[place + 1 :]:
                        compared(one, other)
                continue
            waiting = members
            while len(waiting) > 1:
                first, waiting = waiting[0], waiting[1:]
                for other in waiting:
                    compared(first, other)
                waiting = [other for other in waiting if groups.first(other) != groups.first(first)]
    return groups


def _together(keys: np.ndarray) -> Iterator[list[int]]:
    """The places of equal ``keys``, of each key that occurs more than once."""
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    begins = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]])) if len(ordered) else np.zeros(0, np.int64)
    counts = np.diff(np.append(begins, len(ordered)))
    for begin, size in zip(begins[counts > 1].tolist(), counts[counts > 1].tolist(), strict=True):
        yield order[begin : begin + size].tolist()
