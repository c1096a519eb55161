"""How often a policy solves worlds that nobody has seen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from windtunnel.core.errors import PartError
from windtunnel.core.trial import Trial
from windtunnel.slots import Evaluation, HeldOut

if TYPE_CHECKING:
    import numpy as np
    from transformers import PreTrainedModel

    from windtunnel.slots import Objective

FIRST = 1_000_000  # the first world of validation; those of test begin as many further on


class Success(Evaluation, name="success"):
    """The share of ``rollouts`` fixed worlds that the model solves when it acts, the likeliest action each step.

    The worlds are the same for every model, so that arms can be compared world by world; those of validation, test and training are all
    different. ``success_error`` is the standard error of the share: with 200 rollouts 0.035 at a half, so small differences need many
    seeds. The model remembers the steps of one window, and begins a new one when that is full. It needs minigrid.
    """

    trial = Trial(untried="the tiny corpus is no grid world; tests/parts/test_trajectories.py flies it")

    unit: ClassVar[str] = "share of worlds solved"
    better: ClassVar[str] = "higher"
    number: ClassVar[str] = "success"

    level: str = Field("BabyAI-GoToLocal-v0", description="one of BabyAI's")
    rollouts: int = Field(200, ge=1, description="how many worlds are played on test")
    on_validation: int = Field(50, ge=1, description="how many worlds are played on validation")
    goal: bool = Field(True, description="whether what is sought stands in the observation, as in training")
    most: int = Field(40, ge=1, description="steps after which a world counts as not solved")

    def measures(self, objective: Objective) -> bool:
        """One that says what to do next."""
        return objective.name == "action" and getattr(objective, "sees", None) == "past"

    def evaluate(self, model: PreTrainedModel, held_out: HeldOut) -> dict[str, float]:
        """``success`` and its standard error. Raises PartError where the model does not act, or was trained on other observations."""
        from windtunnel.kits.trajectory.babyai import rollouts

        if not self.measures(held_out.objective):
            raise PartError("success: needs a model that says what to do next: objective action with sees: past")
        test = held_out.split == "test"
        begin, count = FIRST * (2 if test else 1), self.rollouts if test else self.on_validation
        player = Player(model, held_out, count)
        solved = rollouts(self.level, list(range(begin, begin + count)), player.act, goal=self.goal, most=self.most)
        share = float(solved.mean())
        return {"success": share, "success_error": (share * (1 - share) / count) ** 0.5}


class Player:
    """A model that acts in ``count`` episodes at once, and remembers of each the steps of one window."""

    def __init__(self, model: Any, held_out: HeldOut, count: int) -> None:
        import numpy as np

        self.model, self.held_out, self.facts = model, held_out, held_out.facts
        shape = (count, self.facts.steps)
        self.seen = np.full((*shape, len(self.facts.codes)), -1, np.int64)
        self.done = np.full(shape, -1, np.int64)
        self.step = 0

    def act(self, observation: np.ndarray, episodes: np.ndarray) -> np.ndarray:
        """The likeliest action of each of ``episodes`` [n], of which ``observation`` [n, places] is seen now."""
        import numpy as np
        import torch

        from windtunnel.data.held_out import entered

        if observation.shape[1] != len(self.facts.codes):
            raise PartError(f"success: the world shows {observation.shape[1]} codes, and training episodes have {len(self.facts.codes)}")
        now = self.step % self.facts.steps
        if now == 0:
            self.seen[:], self.done[:] = -1, -1
        self.seen[episodes, now] = observation
        shape = (len(episodes), self.facts.steps)
        rows = {
            "observation": self.seen[episodes][:, None],
            "action": self.done[episodes][:, None],
            "there": np.broadcast_to(np.arange(shape[1]) <= now, shape)[:, None],
            "documents": np.zeros((len(episodes), 1), np.int64),
        }
        batch = self.held_out.objective.prepare(rows, self.facts, np.random.default_rng(0))
        arrays = {name: torch.from_numpy(np.ascontiguousarray(one)).to(self.held_out.device) for name, one in batch.items()}
        with torch.no_grad(), entered(self.held_out.precision):
            logits = self.held_out.objective.loss(self.model, arrays).outputs.logits
        found: np.ndarray = logits[:, now].float().argmax(dim=-1).cpu().numpy()
        self.done[episodes, now] = found
        self.step += 1
        return found
