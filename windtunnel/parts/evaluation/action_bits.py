"""How well actions of held-out episodes are foreseen."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

from windtunnel.core.errors import PartError
from windtunnel.core.trial import Trial
from windtunnel.kits.trials import EPISODES
from windtunnel.slots import Evaluation, HeldOut

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from windtunnel.slots import Objective


class ActionBits(Evaluation, name="action-bits"):
    """Bits per action: the held-out cross entropy of what was done, a proper score, so that doubt pays.

    ``action_bits`` is the mean over all held-out steps with an action, ``action_accuracy`` the share whose likeliest action is theirs; then
    the bits of each source. It judges what the model was asked for: with ``sees: next`` an inverse dynamics model, whose bits are not those
    of a policy.
    """

    trial = Trial(model={"family": "decision-transformer"}, beside={**EPISODES, "evaluations": []})

    unit: ClassVar[str] = "bits per action"
    better: ClassVar[str] = "lower"
    number: ClassVar[str] = "action_bits"

    def measures(self, objective: Objective) -> bool:
        """One that says actions."""
        return objective.name == "action"

    def evaluate(self, model: PreTrainedModel, held_out: HeldOut) -> dict[str, float]:
        """The numbers overall, then by source. Raises PartError where no held-out step has an action."""
        from windtunnel.data.held_out import choices

        objective = held_out.objective.measured_by()
        if not self.measures(objective):
            raise PartError(f"action-bits: needs a model that says actions, not one trained with {objective.name}")
        sums = choices(model, held_out, objective)
        if not sums:
            raise PartError("action-bits: no held-out step that was read has an action; hold out more, or read more of them")
        nats, right, count = (sum(column) for column in zip(*sums.values(), strict=True))
        found = {"action_bits": nats / count / math.log(2), "action_accuracy": right / count}
        return found | {f"action_bits/{source}": mine / steps / math.log(2) for source, (mine, _, steps) in sums.items()}
