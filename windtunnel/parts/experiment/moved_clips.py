"""Short clips made of noise by a network that first learned other motions."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np


class MovedClips(Experiment, name="moved-clips"):
    """The loss and the likeness of clips of a new motion, of which few are known, by what a network learned before.

    Sun et al. 2024, arXiv:2407.08944 (Bora): a general model that makes video from text is tuned on clips of medicine. A clip is eight
    positions of a point in the plane; general motions are lines, bounces and circles of many speeds, named by a code; the new one is a
    spiral, of which ``clips`` are known. ``general`` steps on the others come first, then ``steps`` on the new one; without them a
    network begins anew. The numbers are ``loss``, the squared error of freeing unseen spirals of noise, and ``unlike``, the energy distance
    of made and unseen clips, in lengths.
    """

    trial = Trial({"steps": 4, "general": 4, "clips": 20})

    unit: ClassVar[str] = "squared error"

    general: int = Field(0, ge=0, description="steps on other motions")
    clips: int = Field(50, ge=10, description="of the new motion")
    steps: int = Field(200, ge=1, description="on the new motion, 128 clips each")

    def measure(self, seed: int) -> dict[str, float]:
        """``loss`` and ``unlike``."""
        import numpy as np
        import torch

        from windtunnel.kits.flow import Flow

        random = np.random.default_rng(seed)
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(seed)
            flow = Flow(16, 4, 128)
            if self.general:
                kinds = random.integers(0, 3, 3000)
                others = torch.from_numpy(drawn_clips(random, kinds)).float()
                flow.learn(others, torch.eye(4)[kinds], self.general, random)
            few, unseen = (torch.from_numpy(drawn_clips(random, np.full(count, 3))).float() for count in (self.clips, 600))
            told = torch.eye(4)[[3]]
            flow.learn(few, told.expand(len(few), -1), self.steps, random, rate=1e-3)
            with torch.no_grad():
                loss = torch.stack([flow.apart(unseen, told.expand(600, -1)) for _ in range(8)]).mean()
            made = flow.sample(told.expand(300, -1), 16)
        between, own, true = (torch.cdist(one, other).mean() for one, other in ((made, unseen), (made, made), (unseen, unseen)))
        return {"loss": float(loss), "unlike": float(2 * between - own - true)}


def drawn_clips(random: np.random.Generator, kinds: np.ndarray) -> np.ndarray:
    """Positions [clips, 16] of lines (0), bounces (1), circles (2) and spirals (3)."""
    import numpy as np

    count, time = len(kinds), np.arange(8) / 7
    angle, speed = random.uniform(0, 2 * np.pi, (count, 1)), random.uniform(0.5, 1.5, (count, 1))
    way = np.stack([np.cos(angle) * np.ones(8), np.sin(angle) * np.ones(8)], axis=2)
    line = speed[:, :, None] * time[None, :, None] * way
    bounce = line.copy()
    bounce[:, :, 1] = abs(np.sin(3 * speed * time + angle))
    turn = angle + 2 * np.pi * speed * time
    circle = np.stack([np.cos(turn), np.sin(turn)], axis=2)
    spiral = circle * (0.2 + time[None, :, None])
    found = np.stack([line, bounce, circle, spiral])[kinds, np.arange(count)]
    return np.asarray((found + 0.03 * random.standard_normal(found.shape)).reshape(count, 16))
