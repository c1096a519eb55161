"""What is done next, or what was done in between."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from windtunnel.core.errors import PartError
from windtunnel.core.trial import Trial, without
from windtunnel.kits.trials import EPISODES
from windtunnel.slots import Loss, Objective

if TYPE_CHECKING:
    import numpy as np
    import torch
    from transformers import PreTrainedModel


class Action(Objective, name="action"):
    """Say the action of every step of an episode: the cross entropy, in nats.

    ``sees: past`` is behaviour cloning: what was seen until then is known, with ``actions: seen`` what was done before too. ``sees: next``
    is an inverse dynamics model (Baker et al. 2022, arXiv:2206.11795; Brandfonbrener et al. 2023, arXiv:2305.16985): what is seen one step
    later is known as well, and no action; the last step of a window has nothing after it and does not count. Steps without an action,
    and those with one that no training step has, are read and do not count.
    """

    trial = Trial(model={"family": "decision-transformer"}, beside=without(EPISODES, "objective"))

    kinds: ClassVar[tuple[str, ...]] = ("actor",)
    fields: ClassVar[tuple[str, ...]] = ("observation", "action", "there")

    sees: Literal["past", "next"] = Field("past", description="what is known of an action: what was seen before it, or one step later too")
    actions: Literal["hidden", "seen"] = Field("hidden", description="whether the actions before it are known")

    def prepare(self, rows: dict[str, np.ndarray], facts: Any, random: np.random.Generator) -> dict[str, np.ndarray]:
        """``states`` float32 [B, T, steps, width], ``acted`` and ``labels`` int64, ``there`` bool [B, T, steps].

        ``rows`` has ``observation`` [B, T, steps, places], ``action`` and ``there`` [B, T, steps]; T windows are one sequence. ``acted`` is
        what was done in each step, -1 where that is not known; ``labels`` what is to be said there, -100 where nothing is.

        Raises:
            PartError: with the next observation and actions seen, which would say the answer.
        """
        import numpy as np

        if self.sees == "next" and self.actions == "seen":
            raise PartError("action: with sees: next the model stands one step later, where the action that it is asked for would be seen")
        action = rows["action"].astype(np.int64)
        there = rows["there"].astype(bool) & (rows["documents"] >= 0)[..., None]
        asked = there & (action >= 0) & (action < facts.actions)
        labels = np.where(asked, action, -100)
        if self.sees == "next":
            later = np.full_like(labels, -100)
            later[..., 1:] = np.where(there[..., 1:], labels[..., :-1], -100)
            labels = later
        acted = np.where(asked & (self.actions == "seen"), action, -1)
        return {"states": facts.states(rows["observation"]), "acted": acted, "labels": labels, "there": there}

    def loss(self, model: PreTrainedModel, batch: dict[str, torch.Tensor], needs: frozenset[str] = frozenset()) -> Loss:
        """The cross entropy of each action [B, T, steps]; the outputs have ``logits`` [B * T, steps, actions]."""
        import torch

        from windtunnel.models.forward import forward

        arrays: dict[str, Any] = {name: batch[name].flatten(0, 1) for name in ("states", "acted", "there")}
        outputs = forward(model, **arrays, needs=needs)
        labels = batch["labels"]
        values = torch.nn.functional.cross_entropy(
            outputs.logits.float().flatten(0, 1), labels.flatten(), ignore_index=-100, reduction="none"
        )
        return Loss(values.view_as(labels), labels != -100, outputs)
