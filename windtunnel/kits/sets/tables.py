"""Whole tables of labelled rows: what is known of them, priors that they are drawn from, and the posterior of one of these."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from windtunnel.core.errors import needing

if TYPE_CHECKING:
    import numpy as np


class Tables(NamedTuple):
    """What is known of the tables of a stream: most ``rows`` and ``features`` (numbers in a row) of one, and ``classes`` of labels."""

    rows: int
    features: int
    classes: int


def gaussian_table(random: np.random.Generator, rows: int, features: int, classes: int, spread: float) -> tuple[np.ndarray, np.ndarray]:
    """Rows float [rows, features] and labels int [rows]: a Gaussian of variance 1 about the mean of each class, means of ``spread``."""
    means = spread * random.standard_normal((classes, features))
    labels = random.integers(0, classes, rows)
    return means[labels] + random.standard_normal((rows, features)), labels


def network_table(random: np.random.Generator, rows: int, features: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """As :func:`gaussian_table`: labels are the largest output of a random network of one hidden layer, columns are standardised.

    How many columns it reads (the others are zero), how many classes there are, how crooked the network is and how much noise there is on
    its outputs are drawn for each table.
    """
    import numpy as np

    used, named = int(random.integers(2, features + 1)), int(random.integers(2, classes + 1))
    inner, crooked, noise = int(random.integers(4, 17)), random.uniform(0.3, 2.0), random.uniform(0.0, 0.3)
    values = random.standard_normal((rows, used)) @ (np.eye(used) + 0.5 * random.standard_normal((used, used)))
    values = (values - values.mean(axis=0)) / np.maximum(values.std(axis=0), 1e-6)
    hidden = np.tanh(crooked * values @ random.standard_normal((used, inner)) / used**0.5 + random.standard_normal(inner))
    scores = hidden @ random.standard_normal((inner, named))
    scores = (scores - scores.mean(axis=0)) / np.maximum(scores.std(axis=0), 1e-6) + 0.5 * random.standard_normal(named)
    labels = (scores + noise * random.standard_normal(scores.shape)).argmax(axis=1)
    return np.pad(values, ((0, 0), (0, features - used))), labels


def gaussian_posterior(cells: np.ndarray, known: np.ndarray, classes: int, spread: float) -> np.ndarray:
    """The exact probability of each class for every row, given rows whose label is ``known``: float64 [rows, classes].

    Means of classes have a Gaussian posterior by the rows that are known, so a row of a class is Gaussian too, about a mean and with a
    variance that this posterior says; classes are equally frequent beforehand.

    Args:
        cells: [rows, features], drawn as :func:`gaussian_table` draws them.
        known: int [rows], -1 where the label is not known.
        classes: how many there are.
        spread: of the means of classes.
    """
    import numpy as np

    from windtunnel.kits.vectors import softmax

    scores = np.zeros((len(cells), classes))
    for label in range(classes):
        mine = cells[known == label]
        shrunk = spread**2 / (spread**2 * len(mine) + 1)
        variance = 1 + shrunk
        away = cells - shrunk * mine.sum(axis=0)
        scores[:, label] = -(away**2).sum(axis=1) / (2 * variance) - cells.shape[1] / 2 * np.log(variance)
    return softmax(scores)


def bundled(name: str, part: str) -> tuple[np.ndarray, np.ndarray]:
    """Rows and labels of the table ``name`` of scikit-learn. Raises UserError, for ``part``, without scikit-learn."""
    sklearn = library(part)
    found: Any = getattr(sklearn.datasets, f"load_{name}")()
    return found.data, found.target


def library(part: str) -> Any:
    """scikit-learn, with its modules that are used here. Raises UserError, for ``part``, where it is missing."""
    with needing(part, "scikit-learn", "vision"):
        import sklearn
        import sklearn.datasets
        import sklearn.ensemble
        import sklearn.linear_model
    return sklearn
