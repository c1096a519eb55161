"""Drawn scenes of up to four coloured shapes on an uneven ground, whose masks and boxes are known."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

COLOURS = {
    "red": (220, 40, 40),
    "green": (40, 170, 60),
    "blue": (50, 80, 220),
    "yellow": (230, 210, 50),
    "purple": (150, 60, 190),
    "black": (20, 20, 20),
}
SHAPES = ("circle", "square", "triangle", "cross", "ring")
CELLS = np.array([[0.27, 0.27], [0.27, 0.73], [0.73, 0.27], [0.73, 0.73]])  # middles of the quarters of an image, down and across


def insides(down: NDArray[np.floating], across: NDArray[np.floating]) -> dict[str, NDArray[np.bool_]]:
    """Which points lie in each of :data:`SHAPES`, for distances from its middle in radii; ``down`` and ``across`` have one shape."""
    y, x = down, across
    return {
        "circle": x**2 + y**2 < 1,
        "square": np.maximum(abs(x), abs(y)) < 0.9,
        "triangle": (y < 0.8) & (abs(x) < (y + 1) / 1.8),
        "cross": (np.minimum(abs(x), abs(y)) < 0.3) & (np.maximum(abs(x), abs(y)) < 1),
        "ring": abs(np.sqrt(x**2 + y**2) - 0.75) < 0.28,
    }


class DrawnScenes(NamedTuple):
    """``images`` float32 [N, 3, size, size], about -1 to 1, and of each object, at most one in a quarter, what it is.

    ``shapes``, ``colours`` and ``cells`` (the quarter, row by row) are [N, objects], ``middles`` [N, objects, 2] and ``radii`` [N, objects]
    in shares of the side, ``masks`` bool [N, objects, size, size].
    """

    images: NDArray[np.float32]
    shapes: NDArray[np.integer]
    colours: NDArray[np.integer]
    cells: NDArray[np.integer]
    middles: NDArray[np.floating]
    radii: NDArray[np.floating]
    masks: NDArray[np.bool_]


def scenes(
    random: np.random.Generator,
    shapes: NDArray[np.integer],
    colours: NDArray[np.integer],
    size: int,
    *,
    radius: tuple[float, float] = (0.13, 0.21),
    uneven: float = 0.3,
    noise: float = 0.1,
) -> DrawnScenes:
    """A scene for each row of ``shapes`` and ``colours`` [N, objects], numbers of :data:`SHAPES` and :data:`COLOURS`.

    Objects lie in different quarters, a little off the middle, with a ``radius`` from least to most. The ground is grey, tinted and falls
    off in some direction by ``uneven``; every pixel has ``noise``.
    """
    count, objects = shapes.shape
    cells = random.random((count, 4)).argsort(axis=1)[:, :objects]
    radii = random.uniform(*radius, (count, objects))
    middles = CELLS[cells] + random.uniform(-0.05, 0.05, (count, objects, 2))
    place = (np.arange(size) + 0.5) / size
    down = (place[:, None] - middles[..., 0, None, None]) / radii[..., None, None]
    across = (place[None, :] - middles[..., 1, None, None]) / radii[..., None, None]
    down, across = np.broadcast_arrays(down, across)
    every = np.stack(list(insides(down, across).values()))
    masks = np.take_along_axis(every, shapes[None, ..., None, None], axis=0)[0]
    slope = random.standard_normal((count, 2, 1, 1, 1)) * uneven
    tint = random.uniform(-uneven, uneven, (count, 3, 1, 1)) + 0.6
    images = tint + slope[:, 0] * (place[:, None] - 0.5) + slope[:, 1] * (place[None, :] - 0.5)
    paint = (np.array(list(COLOURS.values())) / 127.5 - 1)[colours]
    for number in range(objects):
        images = np.where(masks[:, number, None], paint[:, number, :, None, None], images)
    images = images + noise * random.standard_normal(images.shape)
    return DrawnScenes(images.astype(np.float32), shapes, colours, cells, middles, radii, masks)


def lone_shapes(random: np.random.Generator, count: int, size: int) -> DrawnScenes:
    """Scenes of one shape of any colour and size, in any quarter: what is asked is the shape, and everything else is in the way."""
    shapes, colours = (random.integers(0, len(kinds), (count, 1)) for kinds in (SHAPES, COLOURS))
    return scenes(random, shapes, colours, size, radius=(0.13, 0.23), noise=0.2)


def overlap(found: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """What ``found`` and ``truth`` have in common over what either has; 1 where both are empty."""
    either = (found | truth).sum()
    return float((found & truth).sum() / either) if either else 1.0
