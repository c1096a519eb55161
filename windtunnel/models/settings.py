"""A model's family, and its sizes from one dial."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field, ValidationError, model_serializer, model_validator
from pydantic_core import PydanticCustomError

from windtunnel.core import registry
from windtunnel.core.errors import nearest, told
from windtunnel.core.settings import Settings, unit
from windtunnel.slots import Family, Sizes


class Partial(dict[str, Any]):
    """Settings of a model as a recipe writes them, where a checkpoint says the others: they are read as a :class:`PartialModel`."""


def _named(name: Any) -> Any:
    """The default of a field that holds a part; validation turns the name into it."""
    return name


class ModelSettings(Settings):
    """A network's family and sizes. ``depth`` derives every size that is not set by hand.

    The dial is ``layers = depth`` and ``width = 2 * depth**2`` rounded to a multiple of 32 (at least 64), so that parameters grow
    roughly as the fifth power of depth: 8 is 1.6 million, 12 is 12, 16 is 50, 24 is 380 and 32 is 1,600 million parameters without
    embeddings, which keeps small models deep enough to behave like large ones and reaches the usual aspect ratios at the top.

    ``family`` is written as its name, and its own fields stand beside the sizes: ``{family: vit, depth: 4, patch: 2}``.
    """

    whole: ClassVar[bool] = True

    family: Family = Field(_named("llama"), description="architecture", examples=["llama"])
    depth: int = Field(
        8,
        ge=1,
        le=96,
        description="the dial: sets layers, width, heads and the default learning rate",
        examples=[12],
        json_schema_extra=unit("layers"),
    )
    layers: int | None = Field(
        None,
        ge=1,
        description="transformer blocks, of each stack where there are two (default: depth)",
        examples=[6],
        json_schema_extra=unit("layers"),
    )
    width: int | None = Field(
        None, ge=8, description="hidden size (default: 2 depth^2, a multiple of 32)", examples=[256], json_schema_extra=unit("units")
    )
    heads: int | None = Field(
        None,
        ge=1,
        description="attention heads (default: width over a head size of 32, 64 or 128)",
        examples=[4],
        json_schema_extra=unit("heads"),
    )
    key_value_heads: int | None = Field(
        None,
        ge=1,
        description="heads of keys and values, where there may be fewer (default: heads)",
        examples=[2],
        json_schema_extra=unit("heads"),
    )
    intermediate: int | None = Field(
        None,
        ge=8,
        description="inner size of the MLP (default: 8/3 width if gated, else 4 width)",
        examples=[512],
        json_schema_extra=unit("units"),
    )
    tied: bool = Field(True, description="whether the output head is the input embedding", examples=[False])
    dropout: float = Field(
        0.0, ge=0, lt=1, description="dropout rate wherever the family has it", examples=[0.1], json_schema_extra=unit("share of units")
    )
    initializer_range: float | None = Field(
        None,
        gt=0,
        description="standard deviation of the first weights (default: the family's own, mostly 0.02, which suits wide models)",
        examples=[0.02],
    )

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_keys(cls, data: Any) -> Any:
        """As everywhere, but the family's own fields are known too; they become part of it."""
        if not isinstance(data, Mapping):
            return data
        written = data.get("family", cls.model_fields["family"].default)
        inner: Any = {}
        if isinstance(written, Mapping) and len(written) == 1:  # as any part may be written
            ((written, inner),) = written.items()
        if isinstance(written, Family):
            family, inner = type(written), {key: getattr(written, key) for key in type(written).model_fields}
        elif isinstance(written, str) and isinstance(inner, Mapping | None):
            family = registry.find(Family, written)  # type: ignore[assignment]
        else:
            raise _at("family", f"a family is written as its name, its own settings beside the sizes, not as {data['family']!r}")
        sizes = {key: value for key, value in data.items() if key in cls.model_fields}
        if family is None:  # its name is misspelt, which its own validation tells
            return {**sizes, "family": written}
        own = {key: value for key, value in data.items() if key in family.model_fields} | dict(inner or {})
        for key in (*data, *own):
            if key not in cls.model_fields and key not in family.model_fields:
                hint = nearest(str(key), {*cls.model_fields, *family.model_fields})
                raise PydanticCustomError("unknown_key", "unknown key {shown}; {hint}", {"key": str(key), "shown": repr(key), "hint": hint})
        if "family" not in data and not own:
            return sizes
        try:
            return {**sizes, "family": family.model_validate(own)}
        except ValidationError as error:
            problem = error.errors()[0]
            raise _at(str(problem["loc"][0]), told(problem)) from error

    @model_validator(mode="wrap")
    @classmethod
    def _as_far_as_written(cls, data: Any, handler: Any) -> Any:
        return PartialModel.model_validate(dict(data)) if isinstance(data, Partial) else handler(data)

    @model_validator(mode="after")
    def _sizes_fit(self) -> ModelSettings:
        for key, reason in self.family.unable(self.sizes()).items() if self.whole else ():
            raise _at(key, reason)
        return self

    @model_serializer(mode="wrap")
    def _flat(self, dump: Any) -> dict[str, Any]:
        """As it is written: the family's name, and its own fields beside the sizes."""
        own: dict[str, Any] = self.family.model_dump(mode="json")[self.family.name]
        every = {**dump(self), "family": self.family.name, **own}
        return every if self.whole else {key: every[key] for key in self.written()}

    def written(self) -> dict[str, Any]:
        """What has been set, as a recipe writes it."""
        sizes = {key: getattr(self, key) for key in type(self).model_fields if key in self.model_fields_set}
        if "family" not in sizes:
            return sizes
        own = {key: getattr(self.family, key) for key in type(self.family).model_fields if key in self.family.model_fields_set}
        return {**sizes, "family": self.family.name, **own}

    @property
    def kind(self) -> str | None:
        """decoder, encoder, encoder-decoder or another kind of family; None where only the checkpoint says it."""
        return self.family.kind if self.whole or "family" in self.model_fields_set else None

    def sizes(self) -> Sizes:
        """Every size, those that are not set derived from the dial. Raises ValueError where heads do not divide the width."""
        if not self.whole:
            raise ValueError("the sizes of this model are those of its checkpoint, which has not been opened")
        width = self.width or max(64, 32 * round(2 * self.depth**2 / 32))
        head_size = 32 if width < 512 else 64 if width < 2048 else 128
        heads = self.heads or max(1, width // head_size)
        key_value_heads = self.key_value_heads or heads
        intermediate = self.intermediate or (32 * round(width * 8 / 3 / 32) if self.family.gated else 4 * width)
        if width % heads:
            near = [h for h in range(1, width + 1) if width % h == 0]
            raise ValueError(f"{heads} heads do not divide width {width}; these do: {', '.join(map(str, near))}")
        if heads % key_value_heads:
            raise ValueError(f"{key_value_heads} key_value_heads do not divide {heads} heads")
        return Sizes(
            self.layers or self.depth, width, heads, key_value_heads, intermediate, self.tied, self.dropout, self.initializer_range
        )

    def shape(self) -> dict[str, Any]:
        """What two models of one shape agree in: family, its own fields and the sizes that it has, dropout and first weights left out."""
        own = {key: getattr(self.family, key) for key in type(self.family).model_fields}
        sizes = {key: value for key, value in self.sizes()._asdict().items() if key in self.family.names or key == "key_value_heads"}
        return {"family": self.family.name, **sizes, **own}

    def learning_rate(self) -> float:
        """The default AdamW peak rate of this width: 0.003 at 128, inversely proportional to width."""
        return 0.003 * 128 / self.sizes().width


class PartialModel(ModelSettings):
    """What a recipe writes of a model whose other sizes a checkpoint says. ``windtunnel.recipe.resolve`` opens that and knows them all."""

    whole: ClassVar[bool] = False


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Plain settings ``base`` with those of ``over``. Another family inherits sizes, but not the other's own fields."""
    if over.get("family", base.get("family")) != base.get("family"):
        base = {key: value for key, value in base.items() if key in ModelSettings.model_fields}
    return {**base, **over}


def _at(key: str, message: str) -> PydanticCustomError:
    """An error that is shown at ``key``, where the file writes it."""
    return PydanticCustomError("at_key", "{message}", {"key": key, "message": message})
