"""How well a model names the classes of held-out documents: images, rows, graphs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

from windtunnel.core.errors import PartError
from windtunnel.core.trial import Trial
from windtunnel.kits.trials import DIGITS
from windtunnel.slots import Evaluation, HeldOut

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from windtunnel.slots import Objective


class Labels(Evaluation, name="labels"):
    """Bits per label of a model that was trained to name classes: the held-out cross entropy, a proper score, so that doubt pays.

    ``bits_per_label`` is the mean over all held-out documents that have a label, ``accuracy`` the share whose likeliest class is theirs;
    then both of each source. Without any knowledge of the document, bits per label would be the entropy of the labels. A model that was
    trained without labels is judged by ``probe``.
    """

    trial = Trial(model={"family": "vit", "head": "classify"}, beside={**DIGITS, "objective": "classify", "evaluations": []})

    unit: ClassVar[str] = "bits per label"
    better: ClassVar[str] = "lower"
    number: ClassVar[str] = "bits_per_label"

    def measures(self, objective: Objective) -> bool:
        """One that names the class of each document, by which documents are not only compared."""
        return objective.supervised and "label" in objective.fields and not objective.together

    def evaluate(self, model: PreTrainedModel, held_out: HeldOut) -> dict[str, float]:
        """The numbers overall, then by source.

        Raises:
            PartError: for a model that was not trained to name classes, and where no held-out document has a label.
        """
        from windtunnel.data.held_out import choices

        objective = held_out.objective.measured_by()
        if not self.measures(objective):
            raise PartError(f"labels: needs a model that names classes, not one trained with {objective.name}; use the evaluation probe")
        sums = choices(model, held_out, objective)
        if not sums:
            raise PartError(
                "labels: no held-out document that was read has a label that training documents have; hold out more, or read more of them; "
                "an amount, such as a price, is first cut into a few classes"
            )
        nats, right, count = (sum(column) for column in zip(*sums.values(), strict=True))
        found = {"bits_per_label": nats / count / math.log(2), "accuracy": right / count}
        for source, (mine, good, images) in sums.items():
            found |= {f"bits_per_label/{source}": mine / images / math.log(2), f"accuracy/{source}": good / images}
        return found
