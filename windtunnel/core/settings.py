"""Frozen groups of plain settings, and values as JSON and YAML can hold them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, model_validator
from pydantic.json_schema import SkipJsonSchema
from pydantic_core import PydanticCustomError, PydanticKnownError, core_schema

from windtunnel.core.errors import nearest

NUMBERS = ("int", "float")
INSIDE = ("schema", "items_schema", "keys_schema", "values_schema", "choices", "fields", "definitions")  # where pydantic's schemas nest


def _without_truth(schema: Any) -> Any:
    """``schema`` of pydantic, in which every number refuses true and false, which Python takes for 1 and 0."""
    if isinstance(schema, (list, tuple)):
        return type(schema)(_without_truth(entry) for entry in schema)
    if not isinstance(schema, dict) or schema.get("function", {}).get("function") in _REFUSING.values():
        return schema
    kind = schema.get("type")
    if kind in NUMBERS:
        return core_schema.no_info_before_validator_function(_REFUSING[kind], schema)
    if kind is None or isinstance(kind, dict):  # fields, or the choices of a union, by name
        return {name: _without_truth(entry) for name, entry in schema.items()}
    return {key: _without_truth(entry) if key in INSIDE else entry for key, entry in schema.items()}


def _refusing(kind: Any) -> Any:
    def refuse(value: Any) -> Any:
        if isinstance(value, bool):
            raise PydanticKnownError(kind)
        return value

    return refuse


_REFUSING = {kind: _refusing(f"{kind}_type") for kind in NUMBERS}


class Settings(BaseModel):
    """A frozen group of plain settings. Unknown keys are errors that name the nearest valid key, and true is no number."""

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
                        {"key": str(key), "shown": repr(key), "hint": nearest(str(key), _documented(cls))},
                    )
        return data

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        return _without_truth(handler(source))


def _documented(settings: type[BaseModel]) -> list[str]:
    """The keys that a user may write: without those that are the program's own and that the schema leaves out."""
    hidden: Any = SkipJsonSchema  # for type checkers an alias
    return [name for name, field in settings.model_fields.items() if not any(isinstance(one, hidden) for one in field.metadata)]


class _OneOrMany:
    """Lets a file write the one entry of a list by itself: ``losses: distillation`` for ``losses: [distillation]``."""

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        return core_schema.no_info_before_validator_function(_as_tuple, handler(source))

    def __get_pydantic_json_schema__(self, core: Any, handler: Any) -> dict[str, Any]:
        many = handler(core)
        return {"anyOf": [many["items"], many]}


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, (list, tuple)) else value if value is None else (value,)


Entry = TypeVar("Entry")
Many = Annotated[tuple[Entry, ...], _OneOrMany()]


def unit(name: str) -> dict[str, Any]:
    """What a number is counted in, for ``Field(json_schema_extra=...)``: pages and editors tell it."""
    return {"unit": name}


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
