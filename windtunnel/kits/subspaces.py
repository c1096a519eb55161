"""Two linear tasks whose inputs lie in subspaces that share some dimensions."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]


def refuse_crowded(inside: int, shared: int, width: int) -> None:
    """Raise ValueError where two tasks of ``inside`` dimensions with ``shared`` of them in common do not fit into ``width``."""
    if shared > inside:
        raise ValueError(f"shared: tasks of {inside} dimensions cannot share {shared}; lower it")
    if 2 * inside - shared > width:
        raise ValueError(f"inside: two tasks of {inside} dimensions, {shared} of them shared, do not fit into {width}; lower it")


def subspaces(inside: int, shared: int, width: int, random: np.random.Generator) -> tuple[Array, Array]:
    """Orthonormal axes [width, inside] of both, of which the last ``shared`` of the first are the first of the second."""
    import numpy as np

    axes = np.linalg.qr(random.standard_normal((width, width)))[0]
    return axes[:, :inside], axes[:, inside - shared : 2 * inside - shared]
