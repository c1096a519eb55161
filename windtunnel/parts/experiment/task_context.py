"""A policy of many tasks that is told of its task by a vector which a model of the world makes of what happened."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.kits.optim.descent import take_steps
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np
    import torch


class TaskContext(Experiment, name="task-context"):
    """The return at unseen goals of a policy that was cloned from walks to others, by what tells it of its goal.

    Wang et al. 2024, arXiv:2410.11448 (Meta-DT): an encoder makes a vector of a segment of what happened (places, actions, rewards) so that
    a decoder foretells rewards from it, and is then frozen (here a hidden layer for a GRU, and a decoder that knows the place and not the
    action, and foretells no places); the policy reads the vector, and as a prompt the segment of its own history
    that the model of the world foretells worst. ``nothing`` tells the policy neither, ``vector`` the vector of the last five
    steps, ``worst`` that and the vector of the segment foretold worst, ``random`` that and the vector of any segment, ``goal`` the goal.

    A point in the plane, whose reward is minus its distance to a goal on the unit circle; data is of controllers of medium quality that go
    there with noise. The number is ``return``, the mean reward of a step in walks of 20 steps to unseen goals, but for the first
    ``segment``.
    """

    trial = Trial({"tasks": 6, "steps": 4})

    unit: ClassVar[str] = "reward of a step"
    better: ClassVar[str] = "higher"

    told: Literal["nothing", "vector", "worst", "random", "goal"] = Field("nothing", description="what the policy is told of its task")
    tasks: int = Field(45, ge=2, description="goals of training")
    walks: int = Field(6, ge=1, description="walks to each, of 20 steps")
    noise: float = Field(1.5, ge=0, description="of the controllers, over the length of a step")
    segment: int = Field(5, ge=1, le=15, description="steps of a segment")
    width: int = Field(4, ge=1, description="numbers of a vector")
    steps: int = Field(400, ge=1, description="of each training, 128 rows each")

    def measure(self, seed: int) -> dict[str, float]:
        """``return``."""
        import numpy as np
        import torch
        from torch import nn

        from windtunnel.kits.trajectory.points import on_circle

        random = np.random.default_rng(seed)
        goals = np.repeat(on_circle(random, self.tasks, 1.0), self.walks, axis=0)
        data = self._walked(goals, lambda place, past: step(place, goals), random)
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(seed)
            width = self.width
            encoder = nn.Sequential(nn.Linear(5 * self.segment, 64), nn.ReLU(), nn.Linear(64, width))
            decoder = nn.Sequential(nn.Linear(2 + width, 64), nn.ReLU(), nn.Linear(64, 1))
            past, now, acted, paid, where = self._rows(data)
            self._fitted([encoder, decoder], past, lambda rows: decoder(torch.cat([now[rows], encoder(past[rows])], dim=1)), paid, random)
            prompts = {"nothing": 0, "vector": width, "worst": 2 * width, "random": 2 * width, "goal": 2}[self.told]
            policy = nn.Sequential(nn.Linear(2 + prompts, 64), nn.ReLU(), nn.Linear(64, 2))

            def context(past: torch.Tensor, goal: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
                with torch.no_grad():
                    parts = {"nothing": [], "goal": [goal], "vector": [encoder(past)]}.get(self.told, [encoder(past), encoder(other)])
                return torch.cat([past.new_zeros(len(past), 0), *parts], dim=1)

            told = torch.from_numpy(goals).float()
            extra = self._chosen(encoder, decoder, data, random)
            inputs = torch.cat([now, context(past, told[where], extra[where])], dim=1)
            self._fitted([policy], inputs, lambda rows: policy(inputs[rows]), acted, random)
            unseen = on_circle(random, 40, 1.0)

            def act(place: np.ndarray, past: np.ndarray) -> np.ndarray:
                seen = torch.from_numpy(place).float()
                recent = torch.from_numpy(past[:, -self.segment :].reshape(len(past), -1)).float()
                other = self._chosen(encoder, decoder, past, random)
                with torch.no_grad():
                    found = policy(torch.cat([seen, context(recent, torch.from_numpy(unseen).float(), other)], dim=1))
                return np.asarray(found.double().numpy() / 4)

            walked = self._walked(unseen, act, random, noise=0.3)
        return {"return": float(walked[:, 2 * self.segment :, 4].mean())}

    def _walked(self, goals: np.ndarray, act: Any, random: np.random.Generator, *, noise: float | None = None) -> np.ndarray:
        """What happened [walks, segment + 20, 5]: place, action and reward, the first ``segment`` steps by chance."""
        import numpy as np

        place, past = 0.2 * random.standard_normal(goals.shape), np.zeros((len(goals), 0, 5))
        for time in range(self.segment + 20):
            action = 0.15 * random.standard_normal(place.shape)
            if time >= self.segment:
                action = act(place, past) + 0.1 * (self.noise if noise is None else noise) * random.standard_normal(place.shape)
            action = np.clip(action, -0.3, 0.3)
            paid = -np.linalg.norm(place + action - goals, axis=1, keepdims=True)
            past = np.concatenate([past, np.concatenate([place, action, paid], axis=1)[:, None]], axis=1)
            place = place + action
        return past

    def _rows(self, data: np.ndarray) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Of every step: the segment before it, where it ends, the action (times 4), the reward, and the number of the walk."""
        import numpy as np
        import torch

        walks, length = data.shape[:2]
        times = range(self.segment, length)
        past = np.stack([data[:, time - self.segment : time].reshape(walks, -1) for time in times], axis=1)
        now = data[:, self.segment :]
        flat = (past, now[:, :, :2], 4 * now[:, :, 2:4], now[:, :, 4:], np.repeat(np.arange(walks)[:, None], len(times), axis=1)[..., None])
        first, place, action, paid, walk = (torch.from_numpy(each.reshape(-1, each.shape[2])) for each in flat)
        return first.float(), place.float(), action.float(), paid.float(), walk[:, 0]

    def _chosen(self, encoder: Any, decoder: Any, data: np.ndarray, random: np.random.Generator) -> torch.Tensor:
        """A segment of each walk [walks, segment * 5]: the one that ends where the reward was foretold worst, or any."""
        import numpy as np
        import torch

        walks, length = data.shape[:2]
        ends = random.integers(self.segment, length + 1, walks)
        if self.told == "worst" and length > self.segment:
            past, now, _, paid, _ = self._rows(data)
            with torch.no_grad():
                wrong = (decoder(torch.cat([now, encoder(past)], dim=1)) - paid).abs().view(walks, -1)
            ends = wrong.argmax(dim=1).numpy() + self.segment + 1
        found = np.stack([walk[end - self.segment : end].ravel() for walk, end in zip(data, ends, strict=True)])
        return torch.from_numpy(found).float()

    def _fitted(self, modules: list[Any], inputs: torch.Tensor, found: Any, wanted: torch.Tensor, random: np.random.Generator) -> None:
        """Train ``modules`` in place by least squares of ``found`` (rows to numbers) and ``wanted``."""
        import torch

        def loss(step: int) -> torch.Tensor:
            rows = torch.from_numpy(random.integers(0, len(inputs), 128))
            return (found(rows) - wanted[rows]).square().mean()

        take_steps(torch.optim.Adam([each for module in modules for each in module.parameters()], 3e-3, fused=True), loss, self.steps)


def step(place: np.ndarray, goals: np.ndarray) -> np.ndarray:
    """A step of length 0.1 from ``place`` to ``goals``, shorter when they are near."""
    from windtunnel.kits.trajectory.points import towards

    return 0.4 * towards(place, goals)
