"""Frozen groups of plain settings, and values as JSON and YAML can hold them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator
from pydantic_core import PydanticCustomError

from windtunnel.core.errors import nearest


class Settings(BaseModel):
    """A frozen group of plain settings. Unknown keys are errors that name the nearest valid key."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, arbitrary_types_allowed=False)

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_keys(cls, data: Any) -> Any:
        if isinstance(data, Mapping):
            for key in data:
                if key not in cls.model_fields:
                    raise PydanticCustomError(
                        "unknown_key",
                        "unknown key {shown}; {hint}",
                        {"key": str(key), "shown": repr(key), "hint": nearest(str(key), cls.model_fields)},
                    )
        return data


def plain(value: Any) -> Any:
    """``value`` as what JSON and YAML can hold: parts become one-key mappings, tuples lists, paths strings."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return str(value)
