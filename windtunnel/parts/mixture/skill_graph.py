"""A mixture by what the sources teach about each other."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.slots import Mixture, Progress


class SkillGraph(Mixture, name="skill-graph"):
    """Draw a source the more, the more it helps with those whose validation loss is high.

    Chen et al. 2023 (Skill-it), arXiv:2307.14430. ``helps`` says how training on a source lowers the loss of another; a source helps
    itself by 1 unless it says otherwise. After every evaluation on validation the share of source i is proportional to exp(``rate`` times
    the sum over the last ``window`` evaluations and over j of helps_ij times the loss of j). It is a fresh softmax each time and is not
    multiplied into the shares before. Until the first evaluation all losses count as one. With no graph every source helps itself alone,
    and is drawn by its own loss; where all help all alike, shares are equal.

    An evaluation is a round here (``evaluate_every``). In the released code the window counts evaluations within a round, which makes it
    three times the rate on the newest losses. How much a source helps another is what a short run on the one alone does to the loss of
    the other; such runs cost as much as training and are not charged, because the graph is given.
    """

    trial = Trial({"helps": {"code": {"prose": 0.5}}}, beside={"evaluate_every": 0.25})

    helps: dict[str, dict[str, float]] = Field({}, description="by source, how much training on it lowers the loss of others")
    rate: float = Field(0.5, gt=0, description="how strongly losses act on the shares")
    window: int = Field(3, ge=1, description="evaluations that count")

    def looks_at(self) -> tuple[str, ...]:
        """The sources of the graph."""
        return tuple(dict.fromkeys([*self.helps, *(other for row in self.helps.values() for other in row)]))

    def state(self, model: Any) -> dict[str, Any]:
        """The ``losses`` by source of the evaluations that count."""
        return {"losses": []}

    def weights(
        self, sizes: Mapping[str, int], progress: Progress, feedback: Mapping[str, float], state: dict[str, Any] | None = None
    ) -> dict[str, float]:
        """The share of each source."""
        rounds = (state or {}).get("losses") or [dict.fromkeys(sizes, 1.0)]
        total = {
            source: sum(self._helps(source, other) * losses.get(other, 0.0) for losses in rounds for other in sizes) for source in sizes
        }
        highest = max(total.values())
        raw = {source: math.exp(self.rate * (value - highest)) for source, value in total.items()}
        return {source: value / sum(raw.values()) for source, value in raw.items()}

    def _helps(self, source: str, other: str) -> float:
        return self.helps.get(source, {}).get(other, float(source == other))

    def observe(self, numbers: Mapping[str, float], state: dict[str, Any]) -> None:
        """Remember the first number on validation that every source has, which is its loss."""
        losses: dict[str, float] = {}
        for name, value in numbers.items():
            _, mark, source = name.partition("/")
            if mark and math.isfinite(value):
                losses.setdefault(source, value)
        if losses:
            state["losses"] = [*state["losses"], losses][-self.window :]
