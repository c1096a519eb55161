"""Ridge regression in closed form (Hoerl and Kennard, 1970): linear layers that are solved for instead of trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


def ridge(inputs: np.ndarray, wanted: np.ndarray, strength: float | np.ndarray) -> np.ndarray:
    """The weights [columns, ...] of least squares from ``inputs`` [rows, columns] to ``wanted`` [rows, ...].

    ``strength`` times their square is added to the sum of squared errors over all rows; with an array [columns] each has its own.
    """
    import numpy as np

    return np.asarray(np.linalg.solve(inputs.T @ inputs + strength * np.eye(inputs.shape[1]), inputs.T @ wanted))


def ridge_with_constant(inputs: np.ndarray, wanted: np.ndarray, strength: float) -> np.ndarray:
    """The weights [columns + 1, ...] of a ridge regression of ``strength`` for each row; the last row is a constant and is not shrunk."""
    import numpy as np

    wide = np.concatenate([inputs, np.ones((len(inputs), 1))], axis=1)
    return ridge(wide, wanted, np.append(np.full(inputs.shape[1], strength * len(inputs)), 1e-9))


def leaning(known: np.ndarray, yes: np.ndarray, held: np.ndarray, strength: float) -> np.ndarray:
    """How far each of ``held`` [rows, columns] leans to yes, above 0, or to no: a ridge regression on ``known``, columns scaled by these.

    ``yes`` bool [rows]. It is solved by rows, of which there may be fewer than columns.
    """
    import numpy as np

    mean, scale = known.mean(axis=0), known.std(axis=0) + 1e-6
    inputs, wanted = (known - mean) / scale, 2.0 * yes - 1
    weights = inputs.T @ np.linalg.solve(inputs @ inputs.T + strength * np.eye(len(inputs)), wanted - wanted.mean())
    return np.asarray(((held - mean) / scale) @ weights + wanted.mean())


def applied(weights: np.ndarray, inputs: np.ndarray) -> np.ndarray:
    """What the weights of :func:`ridge_with_constant` foretell for ``inputs`` [rows, columns]."""
    import numpy as np

    return np.asarray(inputs @ weights[:-1] + weights[-1])
