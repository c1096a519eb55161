"""What a model says of the values ahead: one number for each step, or a distribution."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import torch


def distribution(outputs: Any) -> torch.distributions.Distribution | None:
    """The distribution of each step ahead [windows, horizon], in the units of the past that was read; None where the model says numbers.

    Of the Student t of transformers, the scale is what is learnt for it and the degrees of freedom are above 2, so that it has a deviation.
    """
    from torch import distributions

    said = outputs.prediction_outputs
    if not isinstance(said, tuple):
        return None
    *first, place, width = (one.squeeze(-1).float() for one in said)
    place, width = place * outputs.scale[:, 0] + outputs.loc[:, 0], width * outputs.scale[:, 0]
    return distributions.StudentT(first[0], place, width) if first else distributions.Normal(place, width)


def quantiles(said: torch.distributions.Distribution, levels: tuple[float, ...]) -> np.ndarray:
    """The quantiles of ``said`` at ``levels``: float64 [levels, windows, horizon]."""
    import numpy as np
    from scipy import stats

    loc, scale = said.loc.double().cpu().numpy(), said.scale.double().cpu().numpy()  # type: ignore[attr-defined]
    freedom = getattr(said, "df", None)
    unit = [stats.norm.ppf(level) if freedom is None else stats.t.ppf(level, freedom.double().cpu().numpy()) for level in levels]
    return np.stack([loc + scale * one for one in unit])
