"""Paths foretold by a network that learns the next step first, then the end, then all between."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from windtunnel.core.settings import Many
from windtunnel.core.trial import Trial
from windtunnel.kits.optim.descent import falling, take_steps
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np
    import torch

STAGES = ("next", "end", "all")


class StagedForecast(Experiment, name="staged-forecast"):
    """How far off foretold paths are, by the tasks that a network learned before it foretells whole paths.

    Lin et al. 2024, arXiv:2407.11588 (PPT): one network learns the next position, then the destination, then the whole future, the last
    with features held near those that it had after the first two (weights 0.3 and 0.1); here the second is held near the first as well. All
    orders have the same number of steps in all. A path goes from a start towards a goal round a round obstacle that stands somewhere
    between and is not seen; eight positions are seen and twelve are to be foretold. The paper's twenty guesses a path, of which the best
    counts, are one guess here.

    The numbers are ``average``, the mean distance over the twelve positions; ``final``, that of the last; and ``next``, that of the first,
    by the head of the first task where it was learned.
    """

    trial = Trial({"paths": 60, "steps": 6})

    unit: ClassVar[str] = "distance"

    stages: Many[str] = Field(("all",), description="tasks in their order: of next, end and all, which comes last")
    distill: bool = Field(False, description="whether features are held near those after earlier stages")
    paths: int = Field(400, ge=20, description="of training")
    steps: int = Field(900, ge=3, description="of all stages together, 64 paths each")
    noise: float = Field(0.03, ge=0, description="of a position")

    def measure(self, seed: int) -> dict[str, float]:
        """``average``, ``final`` and ``next``."""
        import copy

        import numpy as np
        import torch
        from torch import nn

        from windtunnel.core.errors import PartError

        if not self.stages or self.stages[-1] != "all" or not set(self.stages) <= set(STAGES) or len(set(self.stages)) < len(self.stages):
            raise PartError(
                f"{self.name}: stages are of {', '.join(STAGES)}, each once, and the last one is all; not {', '.join(self.stages)}"
            )
        random = np.random.default_rng(seed)
        paths, unseen = (torch.from_numpy(drawn_paths(random, count, self.noise)).float() for count in (self.paths, 500))
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(seed)
            body = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU())
            heads = nn.ModuleDict({"next": nn.Linear(64, 2), "end": nn.Linear(64, 2), "all": nn.Linear(66, 24)})
            held: list[tuple[Any, float]] = []
            for stage in self.stages:
                self._learned(body, heads, stage, paths, held if self.distill else [], random)
                held.append((copy.deepcopy(body), {"next": 0.3, "end": 0.1}.get(stage, 0.0)))
            with torch.no_grad():
                seen, future = relative(unseen)
                features = body(seen)
                foretold = heads["all"](torch.cat([features, heads["end"](features)], dim=1)).view(-1, 12, 2)
                apart = (foretold - future).norm(dim=2)
                near = (heads["next"](features) - future[:, 0]).norm(dim=1) if "next" in self.stages else apart[:, 0]
        return {"average": float(apart.mean()), "final": float(apart[:, -1].mean()), "next": float(near.mean())}

    def _learned(
        self, body: Any, heads: Any, stage: str, paths: torch.Tensor, held: list[tuple[Any, float]], random: np.random.Generator
    ) -> None:
        """Train ``body`` and ``heads`` in place at one task."""
        import torch

        seen, future = relative(paths)
        steps = self.steps // len(self.stages)

        def loss_of(step: int) -> torch.Tensor:
            rows = torch.from_numpy(random.integers(0, len(paths), 64))
            features, true = body(seen[rows]), future[rows]
            end = heads["end"](features)
            if stage == "next":
                loss = (heads["next"](features) - true[:, 0]).square().mean()
            elif stage == "end":
                loss = (end - true[:, -1]).square().mean()
            else:
                foretold = heads["all"](torch.cat([features, end], dim=1)).view(-1, 12, 2)
                loss = (foretold - true).square().mean() + (end - true[:, -1]).square().mean()
            for old, weight in held:
                with torch.no_grad():
                    before = old(seen[rows])
                loss = loss + weight * (features - before).square().mean()
            return loss

        take_steps(torch.optim.Adam([*body.parameters(), *heads.parameters()], 2e-3, fused=True), loss_of, steps, falling)


def relative(paths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """What is seen [paths, 16] and what comes [paths, 12, 2], from where a path stands now."""
    now = paths[:, 7:8]
    return (paths[:, :8] - now).flatten(1), paths[:, 8:] - now


def drawn_paths(random: np.random.Generator, count: int, noise: float) -> np.ndarray:
    """Positions [count, 20, 2] of walkers who go to a goal and step aside for an obstacle on their way."""
    import numpy as np

    place = random.uniform(-1, 1, (count, 2))
    angle, length = random.uniform(0, 2 * np.pi, count), random.uniform(2, 4, count)
    goal = place + (length * np.stack([np.cos(angle), np.sin(angle)])).T
    middle = place + (goal - place) * random.uniform(0.3, 0.7, (count, 1)) + 0.15 * random.standard_normal((count, 2))
    speed, found = random.uniform(0.12, 0.2, (count, 1)), []
    for _ in range(20):
        way = goal - place
        way = way / (np.linalg.norm(way, axis=1, keepdims=True) + 1e-9)
        off = place - middle
        near = np.exp(-((np.linalg.norm(off, axis=1, keepdims=True) / 0.5) ** 2))
        aside = np.stack([-way[:, 1], way[:, 0]], axis=1)
        aside = aside * np.sign((aside * off).sum(axis=1, keepdims=True))
        move = way + 1.5 * near * aside
        left = np.linalg.norm(goal - place, axis=1, keepdims=True)
        place = place + np.minimum(speed, left) * move / (np.linalg.norm(move, axis=1, keepdims=True) + 1e-9)
        found.append(place)
    paths = np.stack(found, axis=1)
    return np.asarray(paths + noise * random.standard_normal(paths.shape))
