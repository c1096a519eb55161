"""Pictures taken under one condition and recognised under others: what a change of view costs, and what one of light."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.kits.optim.descent import take_steps
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np
    import torch

SIZE, KINDS, BATCH, RATE = 14, 6, 64, 0.01
CONDITIONS = tuple(itertools.product(("top", "side"), ("day", "night")))
NOISE = 0.05


class ConditionMatrix(Experiment, name="condition-matrix"):
    """How often shapes are recognised under the condition of training, another light, another view, and both.

    Das et al. 2024, arXiv:2407.20372 (COLO): a matrix of conditions of training by conditions of testing, with the size of the network and
    what its weights begin from as factors. There a detector finds cows; here a network names one of six shapes, turned by up to 20 degrees,
    near the middle of a picture. From the ``side`` a picture is pressed to half its height and slanted; at ``night`` it has a fifth of the
    contrast, light that falls off to one edge, and as much noise. Each of the four conditions trains on as many pictures. ``same`` is the
    mean of the matrix on its diagonal; ``light``, ``view`` and ``both`` are the means of what differs in these.

    The network has one layer of ``hidden`` units on pixels of mean 0 and length 1. It begins as it was drawn (``scratch``), or from
    training on six other shapes of all conditions (``related``), and is then trained in full.
    """

    trial = Trial({"pictures": 30, "steps": 3, "asked": 30})

    unit: ClassVar[str] = "share right"
    better: ClassVar[str] = "higher"

    begins: Literal["scratch", "related"] = Field("scratch", description="what the weights begin from")
    hidden: int = Field(24, ge=2, description="units of the network")
    pictures: int = Field(200, ge=12, description="of training, of each condition")
    steps: int = Field(150, ge=1, description="of training, 64 pictures each")
    asked: int = Field(400, ge=12, description="pictures of testing, of each condition")

    def measure(self, seed: int) -> dict[str, float]:
        """``same``, ``light``, ``view`` and ``both``, and what another light and another view cost: ``light_cost``, ``view_cost``."""
        import numpy as np
        import torch

        random = np.random.default_rng(seed)
        asked = {condition: pictures(*condition, self.asked, 0, random) for condition in CONDITIONS}
        start = self._drawn(random)
        if self.begins == "related":
            other = [pictures(*condition, self.pictures, KINDS, random) for condition in CONDITIONS]
            start = self._trained(start, np.concatenate([each for each, _ in other]), np.concatenate([kind for _, kind in other]), random)
            start[2:] = self._drawn(random)[2:]
        found: dict[str, list[float]] = {"same": [], "light": [], "view": [], "both": []}
        for own in CONDITIONS:
            weights = self._trained(start, *pictures(*own, self.pictures, 0, random), random)
            for condition, (images, kinds) in asked.items():
                with torch.no_grad():
                    right = (scores(weights, torch.from_numpy(images)).argmax(dim=1).numpy() == kinds).mean()
                differs = [name for name, one, two in zip(("view", "light"), own, condition, strict=True) if one != two]
                found[("same", *differs, "both")[0 if not differs else -1 if len(differs) == 2 else 1]].append(float(right))
        means = {name: float(np.mean(values)) for name, values in found.items()}
        return means | {"light_cost": means["same"] - means["light"], "view_cost": means["same"] - means["view"]}

    def _drawn(self, random: np.random.Generator) -> list[torch.Tensor]:
        import numpy as np
        import torch

        shapes = ((SIZE**2, self.hidden), (self.hidden,), (self.hidden, KINDS), (KINDS,))
        scale = (1.0, 0.0, self.hidden**-0.5, 0.0)
        return [torch.from_numpy((random.standard_normal(shape) * by).astype(np.float32)) for shape, by in zip(shapes, scale, strict=True)]

    def _trained(self, start: list[torch.Tensor], images: np.ndarray, kinds: np.ndarray, random: np.random.Generator) -> list[torch.Tensor]:
        """Weights after training from ``start``, which stays as it is."""
        import torch

        weights = [torch.nn.Parameter(one.clone()) for one in start]

        def loss(step: int) -> torch.Tensor:
            batch = random.integers(0, len(kinds), BATCH)
            return torch.nn.functional.cross_entropy(scores(weights, torch.from_numpy(images[batch])), torch.from_numpy(kinds[batch]))

        take_steps(torch.optim.AdamW(weights, RATE, weight_decay=0.0, fused=True), loss, self.steps)
        return [one.detach() for one in weights]


def scores(weights: list[torch.Tensor] | list[torch.nn.Parameter], images: torch.Tensor) -> torch.Tensor:
    """Of each kind, [images, KINDS]."""
    import torch

    inner, bias, outer, shift = weights
    return torch.relu(images @ inner + bias) @ outer + shift


def pictures(view: str, light: str, count: int, first: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """So many of kinds from ``first`` on, float32 [count, SIZE x SIZE] of mean 0 and length 1, and which of the six, int64 [count]."""
    import numpy as np

    from windtunnel.kits.vectors import unit

    kinds = random.integers(0, KINDS, count)
    turn, shift = np.deg2rad(random.uniform(-20, 20, (count, 1, 1))), random.uniform(-0.2, 0.2, (2, count, 1, 1))
    down, right = np.meshgrid(np.linspace(-1.2, 1.2, SIZE), np.linspace(-1.2, 1.2, SIZE), indexing="ij")
    if view == "side":
        right, down = right + 0.4 * down, 2 * down
    along, across = right - shift[0], down - shift[1]
    inside = shape(first + kinds, along * np.cos(turn) + across * np.sin(turn), across * np.cos(turn) - along * np.sin(turn))
    images = 0.2 + 0.6 * inside
    if light == "night":
        edge = random.uniform(0, 2 * np.pi, (count, 1, 1))
        grid = np.linspace(-1, 1, SIZE)
        images = (0.2 + 0.12 * inside) * (1 + 0.5 * (np.cos(edge) * grid[:, None] + np.sin(edge) * grid))
    images = images + NOISE * random.standard_normal(images.shape)
    flat = images.reshape(count, -1)
    return unit(flat - flat.mean(axis=1, keepdims=True)).astype(np.float32), kinds


def shape(kinds: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Whether points are inside of the shape of each row: bool [rows, SIZE, SIZE]; kinds from 6 on are the related ones."""
    import numpy as np

    far, high = np.hypot(x, y), np.maximum(np.abs(x), np.abs(y))
    slim, flat = np.abs(x) < 0.25, np.abs(y) < 0.25
    known = [
        far < 0.8,  # a disc
        (far > 0.5) & (far < 0.95),  # a ring
        high < 0.7,  # a square
        (slim | flat) & (high < 0.9),  # a cross
        (y > -0.7) & (np.abs(x) < 0.45 * (0.9 - y)),  # a triangle
        slim & (high < 0.95),  # a bar
        (far < 0.9) & (y > 0),  # half a disc
        ((x < -0.3) | (y > 0.3)) & (high < 0.8),  # an L
        ((y < -0.4) | slim) & (high < 0.8),  # a T
        np.abs(x) + np.abs(y) < 0.9,  # a diamond
        (high > 0.5) & (high < 0.85),  # a frame
        (np.abs(np.abs(x) - np.abs(y)) < 0.3) & (high < 0.85),  # an X
    ]
    return np.asarray(np.choose(kinds[:, None, None], known))
