"""Draw the sources more often whose training loss is high: a bandit that learns the mixture while the model trains."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from windtunnel.slots import Mixture, Progress


class Online(Mixture, name="online"):
    """Learn the shares while training, by a bandit (EXP3) whose reward for a source is the training loss on it.

    Albalak et al. 2023, arXiv:2312.02406 (online data mixing). With K sources and the exploration e(t) = min(1/K, sqrt(ln K / (K t))) of
    update t, the share of a source of reward R is (1 - K e(t)) exp(e(t-1) R) / sum + e(t); R is a moving average of its loss. ``linear``
    is the form of the authors' released code for mixed batches: shares (1 - K e) R / sum + e, where R averages exp(loss).

    There one source fills a micro-batch, so the loss is divided by the share that it was drawn with; here a step holds sequences of all
    sources, and the loss is divided by the probability that a step has the source at all, min(1, sequences times share). The first
    K ln K updates are uniform by the formula. Before, and during ``warmup``, shares are those of the sources' sizes.
    """

    by_source = True

    form: Literal["exponential", "linear"] = Field("exponential", description="how rewards become shares; linear reacts far more quickly")
    smoothing: float = Field(0.9, ge=0, lt=1, description="how much of a reward stays when a new loss is averaged in")
    warmup: float = Field(0.02, ge=0, lt=1, description="share of the phase that draws by size, while rewards are collected")

    def state(self, model: Any) -> dict[str, Any]:
        """``rewards``, ``shares`` learnt and shares ``drawn`` by source, ``updates`` so far, ``sequences`` of a step."""
        return {"rewards": {}, "shares": {}, "drawn": {}, "updates": 0, "sequences": 0}

    def weights(
        self, sizes: Mapping[str, int], progress: Progress, feedback: Mapping[str, float], state: dict[str, Any] | None = None
    ) -> dict[str, float]:
        """The learnt shares; by size without a state."""
        total = sum(sizes.values())
        by_size = {source: size / total for source, size in sizes.items()}
        if state is None:
            return by_size
        # What is learnt stays as it is: the loader asks at the beginning of a phase, and again when a run is resumed.
        state["drawn"] = by_size if not state["updates"] or progress.done < self.warmup else dict(state["shares"])
        state["sequences"] = progress.sequences
        return dict(state["drawn"])

    def observe(self, numbers: Mapping[str, float], state: dict[str, Any]) -> None:
        """Average the losses of a step into the rewards, and learn the shares of the next."""
        losses = {source: numbers[f"loss/{source}"] for source in state["drawn"] if f"loss/{source}" in numbers}
        if not losses:
            return  # numbers on validation
        rewards, shares, count = state["rewards"], state["drawn"], len(state["drawn"])
        for source, loss in losses.items():
            chance = min(1.0, state["sequences"] * shares[source])
            reward = math.exp(loss) if self.form == "linear" else loss / max(chance, 1e-6)
            rewards[source] = self.smoothing * rewards.get(source, reward) + (1 - self.smoothing) * reward
        state["updates"] += 1
        before, now = (exploration(count, update) for update in (state["updates"] - 1, state["updates"]))
        if self.form == "linear":
            raw = {source: rewards.get(source, 0.0) for source in shares}
        else:
            highest = max(rewards.values())
            raw = {source: math.exp(before * (rewards.get(source, 0.0) - highest)) for source in shares}
        total = sum(raw.values())
        state["shares"] = {source: (1 - count * now) * value / total + now for source, value in raw.items()}


def exploration(sources: int, update: int) -> float:
    """The least share of each of ``sources`` at ``update``, counted from 1; 1/sources, so that all are drawn alike, at the beginning."""
    return min(1 / sources, math.sqrt(math.log(sources) / (sources * update))) if update else 1 / sources
