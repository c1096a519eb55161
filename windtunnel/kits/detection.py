"""Scores that tell what is of the classes known from what is not, and how well they do. Higher is more like what is known.

Features are float64 [inputs, width], logits [inputs, classes], labels int64 [inputs] from 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from windtunnel.kits.vectors import unit

Array = NDArray[Any]


def from_logits(logits: Array) -> dict[str, Array]:
    """``msp``, the largest probability (Hendrycks and Gimpel 2017); ``energy``, the log of the sum (Liu et al. 2020); ``maxlogit``."""
    energy = np.logaddexp.reduce(logits, axis=1)
    return {"msp": np.exp(logits.max(axis=1) - energy), "energy": energy, "maxlogit": logits.max(axis=1)}


def nearness(features: Array, known: Array, neighbour: int) -> Array:
    """Minus the distance of each of ``features`` to the ``neighbour``-th nearest of ``known``, all of norm 1 (Sun et al. 2022)."""
    squares = np.maximum(2 - 2 * unit(features) @ unit(known).T, 0.0)
    return np.asarray(-np.sqrt(np.partition(squares, neighbour - 1, axis=1)[:, neighbour - 1]))


def mahalanobis(features: Array, known: Array, labels: Array) -> Array:
    """Minus the least squared distance to the mean of a class, in the covariance that classes share (Lee et al. 2018)."""
    means = np.stack([known[labels == label].mean(axis=0) for label in np.unique(labels)])
    rest = known - means[np.searchsorted(np.unique(labels), labels)]
    covariance = rest.T @ rest / len(rest)
    precision = np.linalg.inv(covariance + 1e-6 * np.trace(covariance) / len(covariance) * np.eye(len(covariance)))
    away = features[:, None, :] - means
    return np.asarray(-np.einsum("icw,wv,icv->ic", away, precision, away).min(axis=1))


def auroc(known: Array, other: Array) -> float:
    """The share of pairs in which what is known has the higher score; ties count half."""
    from scipy.stats import rankdata

    ranks = rankdata(np.concatenate([known, other]))[: len(known)].sum()
    return float((ranks - len(known) * (len(known) + 1) / 2) / (len(known) * len(other)))


def area(scores: Array, true: Array) -> float:
    """:func:`auroc` of rows that are ``true`` (bool) against others; a half where all are alike, so that there is nothing to tell."""
    return 0.5 if true.all() or not true.any() else auroc(scores[true], scores[~true])


def false_positives(known: Array, other: Array, share: float = 0.95) -> float:
    """The share of ``other`` above the score that ``share`` of what is known exceed."""
    return float((other >= np.quantile(known, 1 - share)).mean())
