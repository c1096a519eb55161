"""What every fitted law answers with: numbers with intervals, how far they can be trusted, and warnings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import Field

from windtunnel.core.typed import JsonBlock, Number

if TYPE_CHECKING:
    import numpy as np
    import pandas

CONFIDENCE = 0.95
DRAWS = 1000


class Bounds(JsonBlock):
    """A number and its percentile interval from a bootstrap."""

    value: Number = Field(description="of the fit to all points")
    low: Number = Field(description="lower end of the interval of 95 percent")
    high: Number = Field(description="upper end")


class LeftOut(JsonBlock):
    """How well the law predicts what it has not seen: the largest runs, from the others."""

    what: str = Field(description="which runs were left out")
    points: int = Field(description="how many")
    error: Number = Field(description="root mean square of the error, relative where residuals are")
    bias: Number = Field(description="mean of the error; above zero where the law predicts too much")


class LawResult(JsonBlock):
    """A fitted law."""

    law: str = Field(description="which")
    parameters: dict[str, Bounds] = Field(description="by name")
    covariance: dict[str, dict[str, Number]] = Field({}, description="of the parameters over bootstrap samples; logarithms of coefficients")
    points: int = Field(description="rows that the law was fitted to")
    residual: Number = Field(description="root mean square of the residuals")
    objective: Number = Field(description="summed Huber loss of the residuals, which the fit minimises")
    relative: bool = Field(True, description="whether residuals and errors are shares (of the logarithm); else as the table")
    largest_left_out: LeftOut | None = Field(None, description="None where too little would be left")
    warnings: list[str] = Field([], description="what a reader must know before the numbers are used")

    def table(self) -> pandas.DataFrame:
        """A row a parameter: value, low, high."""
        import pandas

        return pandas.DataFrame({name: each.plain() for name, each in self.parameters.items()}).T


def intervals(names: Sequence[str], value: np.ndarray, draws: np.ndarray) -> dict[str, Bounds]:
    """Percentile intervals of ``draws`` [samples, parameters] about ``value`` [parameters]."""
    import numpy as np

    low, high = np.percentile(draws, [50 * (1 - CONFIDENCE), 50 * (1 + CONFIDENCE)], axis=0)
    return {name: Bounds(value=float(v), low=float(a), high=float(b)) for name, v, a, b in zip(names, value, low, high, strict=True)}
