"""Forecasting."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial, without
from windtunnel.kits.trials import PATCHTST, SERIES
from windtunnel.slots import Loss, Objective

if TYPE_CHECKING:
    import numpy as np
    import torch
    from transformers import PreTrainedModel


class SeriesForecast(Objective, name="forecast"):
    """Say how a series goes on: the distance of each value of the horizon from its forecast, in deviations of the window's past.

    Mean and deviation are those of the past alone, of the values that are there; windows whose past does not vary have no scale and do
    not count, nor do gaps in the future. A model with the head ``student-t`` or ``normal`` says a distribution for each step, and
    the loss is minus the logarithm of its density there, in nats, whatever ``distance`` is.
    """

    trial = Trial(model=PATCHTST, beside=without(SERIES, "objective"))

    kinds: ClassVar[tuple[str, ...]] = ("forecaster",)
    fields: ClassVar[tuple[str, ...]] = ("past", "future", "frequency")

    distance: Literal["l1", "l2", "huber"] = Field("l1", description="of forecast from true value: absolute, squared, or squared up to 1")

    def prepare(self, rows: dict[str, np.ndarray], facts: Any, random: np.random.Generator) -> dict[str, np.ndarray]:
        """``past`` float32 and ``observed`` bool [B, T, steps], ``frequency`` [B, T], ``future`` float32 and ``labels`` [B, T, horizon].

        ``labels`` is 0 where a value is to be forecast. ``rows`` has ``past`` [B, T, steps] and ``future`` [B, T, horizon], NaN where there
        is no value, and ``frequency``; T windows are one sequence.
        """
        import numpy as np

        from windtunnel.kits.series.windows import scaled

        found = scaled(rows["past"], rows["future"])
        counts = np.isfinite(rows["future"]) & (found.deviation > 0) & (rows["documents"] >= 0)[..., None]
        return {
            "past": found.past,
            "observed": found.observed,
            "frequency": rows["frequency"],
            "future": found.future,
            "labels": np.where(counts, 0, -100).astype(np.int64),
        }

    def loss(self, model: PreTrainedModel, batch: dict[str, torch.Tensor], needs: frozenset[str] = frozenset()) -> Loss:
        """The distance of each forecast, or the nats of the value there, [B, T, horizon]."""
        import torch

        from windtunnel.kits.series.heads import distribution
        from windtunnel.models.forward import forward

        arrays: dict[str, Any] = {name: batch[name].flatten(0, 1) for name in ("past", "observed", "frequency")}
        outputs = forward(model, **arrays, needs=needs)
        true, labels = batch["future"].flatten(0, 1), batch["labels"]
        said = distribution(outputs)
        if said is not None:
            values = -said.log_prob(true)
        elif self.distance == "huber":
            values = torch.nn.functional.huber_loss(outputs.logits.float(), true, reduction="none")
        else:
            apart = outputs.logits.float() - true
            values = apart.abs() if self.distance == "l1" else apart.square()
        outputs.logits = outputs.logits.view(*labels.shape)
        return Loss(values.view_as(labels), labels != -100, outputs)
