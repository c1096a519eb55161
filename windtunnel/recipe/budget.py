"""What a run may spend."""

from __future__ import annotations

from pydantic import ConfigDict, Field, model_validator
from pydantic.json_schema import SkipJsonSchema

from windtunnel.core.settings import Settings, unit


class Budget(Settings):
    """How much a run may spend, in exactly one unit. The upper bounds are far beyond every machine."""

    model_config = ConfigDict(allow_inf_nan=False)

    flops: float | None = Field(
        None,
        gt=0,
        le=1e32,
        description="floating point operations, counted on the real step",
        examples=[1e12],
        json_schema_extra=unit("FLOPs"),
    )
    effective_flops: float | None = Field(
        None,
        gt=0,
        le=1e32,
        description="floating point operations that remain where hardware leaves out what a structure holds at zero",
        examples=[1e12],
        json_schema_extra=unit("FLOPs"),
    )
    tokens: float | None = Field(None, gt=0, le=1e18, description="input tokens", examples=[1e6], json_schema_extra=unit("tokens"))
    tokens_per_parameter: float | None = Field(
        None,
        gt=0,
        le=1e9,
        description="input tokens for every parameter of the blocks; of a study, the baseline's, whose FLOPs are then every arm's budget",
        examples=[20],
        json_schema_extra=unit("tokens for each parameter"),
    )
    steps: int | None = Field(None, gt=0, le=10**15, description="optimizer steps", examples=[1000], json_schema_extra=unit("steps"))
    seconds: float | None = Field(
        None,
        gt=0,
        le=1e12,
        description="wall-clock seconds (not reproducible to the bit)",
        examples=[600],
        json_schema_extra=unit("seconds"),
    )
    shared: SkipJsonSchema[bool] = Field(
        False, description="in a study, of a recipe that others need, by its `share`: that share of what tokens per parameter take in FLOPs"
    )

    @model_validator(mode="after")
    def _one_unit(self) -> Budget:
        if len(self._set()) != 1:
            raise ValueError(f"a budget has exactly one of: {', '.join(unit for unit in Budget.model_fields if unit != 'shared')}")
        return self

    def _set(self) -> dict[str, float]:
        return {unit: amount for unit, amount in self if amount is not None and unit != "shared"}

    @property
    def unit(self) -> str:
        """flops, effective_flops, tokens, tokens_per_parameter, steps or seconds."""
        return next(iter(self._set()))

    @property
    def amount(self) -> float:
        """How many of :attr:`unit`."""
        return next(iter(self._set().values()))

    def times(self, factor: float) -> Budget:
        """The same budget multiplied."""
        amount = self.amount * factor
        return Budget(**{self.unit: max(1, round(amount)) if self.unit == "steps" else amount}, shared=self.shared)


USUAL = Budget(tokens_per_parameter=20)  # like pre-training: with far fewer, nothing that it shows can be seen
