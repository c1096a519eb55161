"""What tasks on demonstrations of hidden goals leave in a small encoder, read by the imitation of a new goal from a few walks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.kits.optim.descent import take_steps
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np
    import torch


class WalkFeatures(Experiment, name="walk-features"):
    """Success at a new goal after five walks to it, on the features of an encoder that learned from walks to others.

    Brandfonbrener et al. 2023, arXiv:2305.16985: an encoder phi of single observations learns to say the action between two of them
    (``inverse``); it is then frozen and a new goal is imitated from few walks. ``clone`` says the action from the first observation
    alone, ``forward`` the next observation from the first and the action, ``contrast`` which next observation of the step belongs to it,
    ``reconstruct`` the observation itself; ``none`` leaves phi as it begins. Goals are on a circle and are not told, so that the action
    cannot be known from an observation; four other things move by themselves. With ``shown`` the goal is told while phi learns.

    The numbers are ``success``, of 100 walks by a ridge regression from features to actions; ``place``, the share of the variance of the
    place that a linear regression finds in features of unseen walks; and ``others``, the same for the next observation, which what moves
    by itself has a part in.
    """

    trial = Trial({"walks": 10, "steps": 4})

    unit: ClassVar[str] = "share of walks"
    better: ClassVar[str] = "higher"

    task: Literal["none", "inverse", "clone", "forward", "contrast", "reconstruct"] = Field("none", description="what the encoder learns")
    shown: bool = Field(False, description="whether the goal is told to the task")
    walks: int = Field(300, ge=10, description="demonstrations to learn from, twelve steps each")
    few: int = Field(5, ge=1, description="walks to the new goal")
    others: float = Field(1.0, ge=0, description="how much is seen of what moves by itself")
    width: int = Field(4, ge=1, description="numbers of a feature")
    steps: int = Field(400, ge=1, description="of learning, 128 pairs each")

    def measure(self, seed: int) -> dict[str, float]:
        """``success``, ``place`` and ``others``."""
        import numpy as np
        import torch
        from torch import nn

        from windtunnel.kits.ridge import applied, ridge_with_constant
        from windtunnel.kits.trajectory.points import SEEN, PointWorld, on_circle

        random = np.random.default_rng(seed)
        world = PointWorld.drawn(random, self.others)
        others = world.walks(random, on_circle(random, self.walks), 12)
        goal = on_circle(random, 1)
        few, unseen = world.walks(random, np.repeat(goal, self.few, axis=0), 12), world.walks(random, on_circle(random, 60), 12)
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(seed)
            phi = nn.Sequential(nn.Linear(SEEN, 64), nn.ReLU(), nn.Linear(64, self.width))
            if self.task != "none":
                self._taught(phi, others, random)

        def features(observations: np.ndarray) -> np.ndarray:
            with torch.no_grad():
                return np.asarray(phi(torch.from_numpy(observations).float()).double().numpy())

        shown, known = few.observations[:, :-1].reshape(-1, SEEN), unseen.observations[:, :-1].reshape(-1, SEEN)
        mean, spread = features(known).mean(axis=0), features(known).std(axis=0) + 1e-6

        def scaled(observations: np.ndarray) -> np.ndarray:
            return (features(observations) - mean) / spread

        acting = ridge_with_constant(scaled(shown), few.actions.reshape(-1, 2), 0.01)
        asked = np.random.default_rng((seed, 1))  # the same starts for every task
        success = world.reached(lambda seen: applied(acting, scaled(seen)), asked, np.repeat(goal, 100, axis=0), 25)

        def explained(targets: np.ndarray) -> float:
            half = len(known) // 2
            weights = ridge_with_constant(scaled(known[:half]), targets[:half], 1e-3)
            left = ((applied(weights, scaled(known[half:])) - targets[half:]) ** 2).sum()
            return float(1 - left / ((targets[half:] - targets[half:].mean(axis=0)) ** 2).sum())

        following = unseen.observations[:, 1:].reshape(-1, SEEN)
        return {"success": success, "place": explained(unseen.places[:, :-1].reshape(-1, 2)), "others": explained(following)}

    def _taught(self, phi: torch.nn.Module, walks: Any, random: np.random.Generator) -> None:
        """Train ``phi`` in place with a head that is then forgotten."""
        import numpy as np
        import torch
        from torch import nn
        from torch.nn import functional

        from windtunnel.kits.trajectory.points import SEEN

        steps = walks.actions.shape[1]
        first, second = (
            torch.from_numpy(part.reshape(-1, SEEN)).float() for part in (walks.observations[:, :-1], walks.observations[:, 1:])
        )
        actions = 4 * torch.from_numpy(walks.actions.reshape(-1, 2)).float()
        goals = torch.from_numpy(np.repeat(walks.goals, steps, axis=0)).float() * self.shown
        width, wanted = self.width, {"inverse": 2, "clone": 2, "forward": SEEN, "contrast": self.width, "reconstruct": SEEN}[self.task]
        given = {"inverse": 2 * width, "clone": width, "forward": width + 2, "contrast": width + 2, "reconstruct": width}[self.task] + 2
        head = nn.Sequential(nn.Linear(given, 64), nn.ReLU(), nn.Linear(64, wanted))

        def loss(step: int) -> torch.Tensor:
            rows = torch.from_numpy(random.integers(0, len(first), 128))
            now, then, act, told = phi(first[rows]), second[rows], actions[rows], goals[rows]
            if self.task == "inverse":
                return functional.mse_loss(head(torch.cat([now, phi(then), told], dim=1)), act)
            if self.task == "clone":
                return functional.mse_loss(head(torch.cat([now, told], dim=1)), act)
            if self.task == "reconstruct":
                return functional.mse_loss(head(torch.cat([now, told], dim=1)), first[rows])
            if self.task == "forward":
                return functional.mse_loss(head(torch.cat([now, act, told], dim=1)), then)
            foretold = functional.normalize(head(torch.cat([now, act, told], dim=1)), dim=1)
            return functional.cross_entropy(5 * foretold @ functional.normalize(phi(then), dim=1).T, torch.arange(len(rows)))

        take_steps(torch.optim.Adam([*phi.parameters(), *head.parameters()], 3e-3, fused=True), loss, self.steps)
