"""Which past frames a policy that sees only a few of them should keep."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.kits.ridge import ridge
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np


class FrameMemory(Experiment, name="frame-memory"):
    """The error of actions that depend on places seen earlier, by the rule that chooses which frames are remembered.

    Zhang et al. 2025, arXiv:2506.22242 (4D-VLA), sample history by a bank of memories. Their code was not at hand, so the rule is ours:
    when a frame comes and the bank is full, of two neighbouring frames that are most alike the older one goes (``memory``). ``last``
    keeps the newest frames, ``uniform`` frames at equal distances from the first to the last. The present frame is always seen.

    A point goes from place to place in the plane, from one fewer of them to two more than there are frames, and rests in each
    as long as luck has it, ``rest`` steps in the mean; a frame is its position, with noise. The action leads to the place seen ``back``
    moves ago, which frames of rest push out of a short history. A ridge regression predicts it from the kept frames, how long ago each
    was, and their products. With ``coordinates: camera`` every episode is seen by a camera that is turned and shifted in a way that is
    not told; ``world`` undoes that. The number is ``error``, of the squared action of unseen episodes over that of the mean action.
    """

    trial = Trial({"episodes": 80})

    unit: ClassVar[str] = "share of the variance"

    keep: Literal["last", "uniform", "memory"] = Field("last", description="which frames")
    coordinates: Literal["world", "camera"] = Field("world", description="what positions are told in")
    rest: float = Field(5.0, ge=1, description="steps in a place, in the mean; 1 never rests")
    frames: int = Field(5, ge=2, description="how many are seen, the present one included")
    back: int = Field(2, ge=1, description="moves between now and the place that is wanted")
    episodes: int = Field(1500, ge=20, description="of training; a third as many are unseen")
    noise: float = Field(0.05, ge=0, description="of a position")

    def measure(self, seed: int) -> dict[str, float]:
        """``error``."""
        import numpy as np

        random = np.random.default_rng(seed)
        count = self.episodes + self.episodes // 3
        rows, actions = [], []
        for _ in range(count):
            row, action = self._episode(random)
            rows.append(row)
            actions.append(action)
        inputs, targets = np.array(rows), np.array(actions)
        train = np.arange(count) < self.episodes
        places, ages = inputs[:, : 2 * self.frames], inputs[:, 2 * self.frames :]
        products = (places[:, :, None] * ages[:, None, :]).reshape(count, -1)
        inputs = np.concatenate([places, ages, products], axis=1)
        scaled = (inputs - inputs[train].mean(axis=0)) / (inputs[train].std(axis=0) + 1e-6)
        own, mean = scaled[train], targets[train].mean(axis=0)
        weights = ridge(own, targets[train] - mean, 0.01 * len(own))
        wrong = ((scaled[~train] @ weights + mean - targets[~train]) ** 2).mean()
        return {"error": float(wrong / ((targets[~train] - targets[train].mean(axis=0)) ** 2).mean())}

    def _episode(self, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """What is seen at the end, positions [frames * 2] and ages [frames], and the action [2]."""
        import numpy as np

        moves = max(self.back + 1, self.frames + int(random.integers(-1, 3)))
        places = random.uniform(-1, 1, (moves, 2))
        rests = random.geometric(1 / self.rest, moves)
        rests[0] += max(0, self.frames - rests.sum())
        frames = np.repeat(places, rests, axis=0)
        frames = frames + self.noise * random.standard_normal(frames.shape)
        if self.coordinates == "camera":
            angle, shift = random.uniform(0, 2 * np.pi), random.uniform(-1, 1, 2)
            turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
            frames = frames @ turn.T + shift
        chosen = kept(frames, self.keep, self.frames)
        return np.concatenate([frames[chosen].ravel(), np.log1p(len(frames) - 1 - chosen)]), places[-1 - self.back] - places[-1]


def kept(frames: np.ndarray, rule: str, count: int) -> np.ndarray:
    """Which ``count`` of ``frames`` [steps, numbers] are seen at the end, in order; the last one always is."""
    import itertools

    import numpy as np

    steps = len(frames)
    if rule == "last":
        return np.arange(steps - count, steps)
    if rule == "uniform":
        return np.linspace(0, steps - 1, count).round().astype(int)
    bank: list[int] = []
    for step in range(steps):
        bank.append(step)
        if len(bank) > count:
            apart = [((frames[first] - frames[second]) ** 2).sum() for first, second in itertools.pairwise(bank)]
            del bank[int(np.argmin(apart))]
    return np.array(bank)
