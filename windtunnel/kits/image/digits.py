"""Scikit-learn's handwritten digits, for experiments that need a small real task and no corpus."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from windtunnel.core.errors import needing

if TYPE_CHECKING:
    import numpy as np


def digits(part: str) -> Any:
    """All of them, as ``sklearn.datasets.load_digits`` gives them. Raises UserError, for the part ``part``, without scikit-learn."""
    with needing(part, "scikit-learn", "vision"):
        from sklearn.datasets import load_digits
    return load_digits()


def shuffled_digits(part: str, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Images [N, 64] from 0 to 1 and their labels [N], in an order that ``random`` draws."""
    found = digits(part)
    order = random.permutation(len(found.target))
    return found.data[order] / 16, found.target[order]


def five_of_ten(part: str, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images [N, 64] from 0 to 16, labels [N], below 5 those of a task, and which images are held out [N]: ``random`` deals."""
    import numpy as np

    found = digits(part)
    order, held = random.permutation(10), random.random(len(found.target)) < 0.3
    return found.data, np.argsort(order)[found.target], held
