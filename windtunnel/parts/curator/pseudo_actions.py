"""A curator that tells actions that nobody wrote down."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from windtunnel.core.errors import PartError
from windtunnel.core.part import Trained
from windtunnel.core.settings import Many
from windtunnel.core.trial import Trial
from windtunnel.data.corpus.frame import engine, streamed
from windtunnel.kits.text.choice import digest, wanted
from windtunnel.slots import Curator, CuratorContext
from windtunnel.slots.curator import ROW

if TYPE_CHECKING:
    import daft
    import numpy as np


class PseudoActions(Curator, name="pseudo-actions"):
    """Let a trained model say the actions of training episodes that have none, from what was seen: the likeliest of each step.

    Baker et al. 2022, arXiv:2206.11795 (Video PreTraining): an inverse dynamics model learns from few labelled episodes, labels many that
    are not, and a policy is cloned from those. A ``labeller`` that sees what comes next (``sees: next``, as its objective says) leaves the
    last action of an episode untold. Its training and its forward passes are charged to every run on the corpus.
    """

    trial = Trial(untried="the tiny corpus has no episodes; tests/parts/test_trajectories.py flies it")

    labeller: Trained = Field(description="the model that says actions, trained with the objective action")
    sees: Literal["past", "next"] = Field("next", description="what the objective of the labeller sees")
    sources: Many[str] = Field((), description="the sources whose untold actions are told (default: all)")

    def curate(self, documents: daft.DataFrame, context: CuratorContext) -> daft.DataFrame:
        """All documents; those in which no action was told with the actions that the labeller says.

        Raises:
            PartError: where the labeller says no actions or sees something else than ``sees``, documents are no episodes, or none is
                without actions.
        """
        from daft.functions import when

        from windtunnel.models.init import family_of

        if context.processors["labeller"] is None or family_of(context.models["labeller"].config).kind != "actor":
            raise PartError("pseudo-actions: the labeller says no actions, as decision-transformer does")
        phases = () if self.labeller.recipe is None else self.labeller.recipe.phases
        if phases and (sees := getattr(phases[-1].objective, "sees", self.sees)) != self.sees:
            raise PartError(f"pseudo-actions: sees is {self.sees}, and that of the labeller's objective is {sees}; give both the same")
        for name in ("observation", "action"):
            if name not in documents.column_names:
                raise PartError(f"pseudo-actions: the documents have no {name!r}; their fields are {', '.join(documents.column_names)}")
        daft = engine()
        told: dict[int, list[int]] = {}
        rows = streamed(documents.where(wanted(self, documents, self.sources)), ("observation", "action", ROW))
        for seen, done, row in rows:
            if seen and max(done or (-1,)) < 0:
                told[row] = context.once(digest(repr(seen)).hex(), functools.partial(self._said, seen, context))
        if not told:
            raise PartError("pseudo-actions: every episode has actions, so none is told")
        context.tally.count("episodes whose actions were told", len(told))
        new = daft.col(ROW).apply(lambda row: told.get(row), return_dtype=daft.DataType.list(daft.DataType.int64()))
        return documents.with_column("action", when(new.not_null(), new).otherwise(daft.col("action")))

    def _said(self, seen: list[list[int]], context: CuratorContext) -> list[int]:
        """The action of each step of an episode, -1 where the labeller cannot tell."""
        import numpy as np
        import torch

        from windtunnel.models.forward import forward

        model, facts = context.models["labeller"], context.processors["labeller"].facts
        observation = np.array(seen)
        if observation.shape[1] != len(facts.codes):
            raise PartError(f"pseudo-actions: observations of {observation.shape[1]} places, and the labeller reads {len(facts.codes)}")
        shift = int(self.sees == "next")
        if facts.steps <= shift:
            raise PartError("pseudo-actions: a labeller that sees what comes next needs windows of two steps at least")
        begins = np.arange(0, max(1, len(seen) - shift), facts.steps - shift)
        places = begins[:, None] + np.arange(facts.steps)
        there = places < len(seen)
        windows: np.ndarray = np.where(there[..., None], observation[np.minimum(places, len(seen) - 1)], -1)
        arrays: dict[str, Any] = {"states": facts.states(windows), "acted": np.full(places.shape, -1), "there": there}
        given: dict[str, Any] = {name: torch.from_numpy(one).to(model.device) for name, one in arrays.items()}
        with context.counted(3 * places.size), torch.no_grad():
            logits = forward(model, **given).logits
        said = logits.float().argmax(dim=-1).cpu().numpy()[:, shift:].reshape(-1)
        found = np.full(len(seen), -1)
        count = min(len(said), len(seen) - shift)
        found[:count] = said[:count]
        return found.tolist()
