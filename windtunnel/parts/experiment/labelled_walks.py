"""A policy cloned from walks whose actions a labeller had to guess."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.kits.optim.descent import take_steps
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    from windtunnel.kits.trajectory.points import Walks


class LabelledWalks(Experiment, name="labelled-walks"):
    """Success of a policy cloned from many walks without actions, which a model that was trained on a few with actions has labelled.

    Baker et al. 2022, arXiv:2206.11795 (VPT): a model that sees past and future says which action was taken, few labelled walks suffice
    for it, and a policy that sees the past alone is cloned from what it says of all others. ``few`` clones the labelled walks,
    ``true`` all walks with their true actions; ``both-sides`` labels from the observations before and after an action, ``past`` from the
    two before it. Goals differ and are told to policy and labeller alike, in what is seen. The numbers are ``success`` of 200 walks to new
    goals, and ``label_error``, the squared error of guessed labels over the variance of actions, 0 where none is guessed.
    """

    trial = Trial({"labelled": 5, "walks": 10, "steps": 4})

    unit: ClassVar[str] = "share of walks"
    better: ClassVar[str] = "higher"

    labels: Literal["few", "both-sides", "past", "true"] = Field("few", description="what the policy is cloned from")
    labelled: int = Field(30, ge=1, description="walks with actions")
    walks: int = Field(400, ge=1, description="walks without")
    others: float = Field(0.3, ge=0, description="how much is seen of what moves by itself")
    noise: float = Field(1.0, ge=0, description="of the demonstrator, over the length of a step")
    steps: int = Field(400, ge=1, description="of each training, 128 pairs each")

    def measure(self, seed: int) -> dict[str, float]:
        """``success`` and ``label_error``."""
        import numpy as np
        import torch

        from windtunnel.kits.trajectory.points import SEEN, PointWorld, on_circle

        random = np.random.default_rng(seed)
        world = PointWorld.drawn(random, self.others)
        few = world.walks(random, on_circle(random, self.labelled), 10, noise=self.noise)
        many = world.walks(random, on_circle(random, self.walks), 10, noise=self.noise)

        def inputs(walks: Walks, kind: str) -> np.ndarray:
            seen, goals = walks.observations, np.repeat(walks.goals[:, None], 9, axis=1)
            pair = {"past": (seen[:, :-2], seen[:, 1:-1]), "both-sides": (seen[:, 1:-1], seen[:, 2:]), "now": (seen[:, 1:-1],)}[kind]
            return np.concatenate([*pair, goals], axis=2).reshape(-1, len(pair) * SEEN + 2)

        def acted(walks: Walks) -> np.ndarray:
            return np.asarray(walks.actions[:, 1:].reshape(-1, 2))

        with torch.random.fork_rng(devices=()):
            torch.manual_seed(seed)
            given, targets, error = inputs(many, "now"), acted(many), 0.0
            if self.labels == "few":
                given, targets = inputs(few, "now"), acted(few)
            elif self.labels != "true":
                labeller = self._fitted(inputs(few, self.labels), acted(few), random)
                targets = labeller(inputs(many, self.labels))
                error = float(((targets - acted(many)) ** 2).sum() / ((acted(many) - acted(many).mean(axis=0)) ** 2).sum())
            policy = self._fitted(given, targets, random)
        random = np.random.default_rng((seed, 1))  # the same goals and starts for every kind of labels
        goals = on_circle(random, 200)
        success = world.reached(lambda seen: policy(np.concatenate([seen, goals], axis=1)), random, goals, 16)
        return {"success": success, "label_error": error}

    def _fitted(self, inputs: np.ndarray, targets: np.ndarray, random: np.random.Generator) -> Callable[[np.ndarray], np.ndarray]:
        """One hidden layer by least squares, as a function."""
        import numpy as np
        import torch
        from torch import nn

        model = nn.Sequential(nn.Linear(inputs.shape[1], 64), nn.ReLU(), nn.Linear(64, 2))
        given, wanted = torch.from_numpy(inputs).float(), 4 * torch.from_numpy(targets).float()

        def loss(step: int) -> torch.Tensor:
            rows = torch.from_numpy(random.integers(0, len(given), 128))
            return (model(given[rows]) - wanted[rows]).square().mean()

        take_steps(torch.optim.AdamW(model.parameters(), 3e-3, weight_decay=0.05, fused=True), loss, self.steps)

        def asked(inputs: np.ndarray) -> np.ndarray:
            with torch.no_grad():
                return np.asarray(model(torch.from_numpy(inputs).float()).double().numpy() / 4)

        return asked
