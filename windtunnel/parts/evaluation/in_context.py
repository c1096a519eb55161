"""How near labels told in context come to the exact posterior."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from windtunnel.core.errors import PartError
from windtunnel.core.settings import Many
from windtunnel.core.trial import Trial
from windtunnel.kits.trials import TABLES
from windtunnel.slots import Evaluation, HeldOut

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from windtunnel.slots import Objective


class InContextBits(Evaluation, name="in-context"):
    """Bits a label on held-out tables of which so many rows are shown, beside what the exact posterior of their prior needs.

    The first rows of a table are shown and the others told. ``in_context/16`` is with 16 shown, ``exact/16`` what nobody can go below on
    average where tables come from ``table-prior`` with ``gaussian-classes`` of this ``spread``, ``in_context`` and ``exact`` are the means
    over ``shown``, and ``gap`` is their difference. Every number of rows is told apart, because a network may be good with many and bad
    with one.
    """

    trial = Trial({"shown": [2, 4]}, model={"family": "pfn"}, beside={**TABLES, "evaluations": []})

    unit: ClassVar[str] = "bits per label"
    better: ClassVar[str] = "lower"
    number: ClassVar[str] = "in_context"
    by_objective: ClassVar[bool] = False

    shown: Many[int] = Field((4, 16, 32), description="how many rows of a table are shown")
    spread: float = Field(1.5, gt=0, description="of the prior that the tables were drawn from")
    features: int | None = Field(None, ge=1, description="of that prior, where the encoding has room for more (default: as many)")
    classes: int | None = Field(None, ge=2, description="of that prior, where the encoding has room for more (default: as many)")

    source: str | None = Field(None, description="the source whose tables are read (default: all)")

    def looks_at(self) -> tuple[str, ...]:
        """The source."""
        return () if self.source is None else (self.source,)

    def measures(self, objective: Objective) -> bool:
        """One that reads tables."""
        return "cells" in objective.fields and "label" in objective.fields

    def evaluate(self, model: PreTrainedModel, held_out: HeldOut) -> dict[str, float]:
        """The numbers over all held-out tables.

        Raises:
            PartError: where a table has no row left to tell.
        """
        import numpy as np

        from windtunnel.kits.sets.tables import gaussian_posterior
        from windtunnel.kits.sets.told import bits, tables_of, told

        cells, labels = tables_of(held_out, held_out.sources if self.source is None else (self.source,))
        seen, classes = cells[..., : self.features], self.classes or held_out.facts.classes
        found: dict[str, float] = {}
        for shown in self.shown:
            if shown >= cells.shape[1] or not (labels[:, shown:] >= 0).any():
                raise PartError(f"in-context: {shown} rows are shown and a table has {cells.shape[1]}; leave some to be told")
            known = np.where(np.arange(cells.shape[1]) < shown, labels, -1)
            asked = (known < 0) & (labels >= 0)
            ours = told(model, cells, known, held_out)
            exact = np.stack([gaussian_posterior(one, mine, classes, self.spread) for one, mine in zip(seen, known, strict=True)])
            found[f"in_context/{shown}"] = bits(ours[asked], labels[asked])
            found[f"exact/{shown}"] = bits(exact[asked], labels[asked])
        means = {name: float(np.mean([found[f"{name}/{shown}"] for shown in self.shown])) for name in ("in_context", "exact")}
        return {**means, "gap": means["in_context"] - means["exact"], **found}
