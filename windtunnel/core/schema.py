"""How settings are written in a file: as JSON schema, which editors read, and the same in words, for pages and messages.

The fields of the models are the only source: types and bounds, ``description``, ``examples``, and ``unit``.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, WithJsonSchema

from windtunnel.core.settings import plain

if TYPE_CHECKING:
    from windtunnel.core.part import Part

LIST_AT_MOST = 4  # keys of a mapping that are named where it is spoken of
NOUNS = {"integer": "whole number", "number": "number", "string": "text", "boolean": "true or false", "null": "null"}


def elsewhere(name: str, said: str) -> WithJsonSchema:
    """Says of a field, in words too, that its schema is that of ``name``, which whoever knows all models of a file defines."""
    return WithJsonSchema({"elsewhere": name, "words": said})


class _Generator(GenerateJsonSchema):
    """Pydantic's schema without titles; a slot is named, and what may fill it is left to whoever knows."""

    ignored_warning_kinds = {"non-serializable-default", "skipped-choice"}

    def model_schema(self, schema: Any) -> dict[str, Any]:
        kind: Any = schema["cls"]
        name = kind.__name__
        if getattr(kind, "slot", None) is kind:
            return {"elsewhere": name, "words": name}
        return {**super().model_schema(schema), "description": first_sentence(kind)}

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def sort(self, value: Any, parent_key: str | None = None) -> Any:
        return value

    def encode_default(self, dft: Any) -> Any:
        return dft.model_dump(mode="json", exclude_unset=True) if isinstance(dft, BaseModel) else plain(dft)


def first_sentence(thing: Any) -> str:
    """The first sentence of a docstring, as one line."""
    return " ".join(inspect.cleandoc(thing.__doc__ or "").partition("\n\n")[0].split()).partition(". ")[0].removesuffix(".") + "."


def schema_of(settings: type[BaseModel]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The JSON schema of ``settings``, and those of the settings in it by their names, to which it refers as ``#/$defs/NAME``."""
    found = settings.model_json_schema(schema_generator=_Generator)
    definitions = found.pop("$defs", {})
    if "$ref" in found:  # it holds itself
        found = definitions[name_in(found)]
    found.pop("title", None)
    for one in definitions.values():
        one.pop("title", None)
    return found, definitions


def name_in(schema: Mapping[str, Any]) -> str:
    """The name of the definition that a schema refers to."""
    return str(schema["$ref"]).rpartition("/")[2]


def described(settings: type[BaseModel]) -> dict[str, dict[str, Any]]:
    """Every key of ``settings``: its type in words, ``unit``, whether it is ``required``, ``default``, ``example`` and ``description``."""
    schema, definitions = schema_of(settings)
    return {
        key: described_key(entry, definitions, key in schema.get("required", ())) for key, entry in schema.get("properties", {}).items()
    }


def described_key(schema: Mapping[str, Any], definitions: Mapping[str, Any], required: bool) -> dict[str, Any]:
    """What there is to say of one key; see :func:`described`."""
    return {
        "type": words(schema, definitions),
        "unit": schema.get("unit", ""),
        "required": required,
        "default": schema.get("default"),
        "example": next(iter(schema.get("examples", ())), schema.get("default")),
        "description": schema.get("description", ""),
    }


def describe(part: type[Part]) -> dict[str, Any]:
    """What ``windtunnel parts NAME`` prints of a part: name, slot, documentation, knobs (see :func:`described`), conflicts."""
    return {
        "name": part.name,
        "slot": part.slot.__name__,
        "documentation": inspect.cleandoc(part.__doc__ or ""),
        "knobs": described(part),
        "conflicts": dict(part.conflicts),
        "module": part.__module__,
    }


def words(schema: Mapping[str, Any], definitions: Mapping[str, Any], many: bool = False) -> str:
    """What a schema lets one write, such as "whole number, at least 1"; of ``many`` such things "whole numbers, at least 1"."""
    if "words" in schema:
        return str(schema["words"]) + ("s" if many and schema["words"] == schema["elsewhere"] else "")
    if "$ref" in schema:
        return words(definitions[name_in(schema)], definitions, many)
    if "anyOf" in schema or "oneOf" in schema:
        choices = [words(one, definitions, many) for one in schema.get("anyOf", schema.get("oneOf")) if one.get("type") != "null"]
        return _one_of(list(dict.fromkeys(choices)))
    if "enum" in schema or "const" in schema:
        return _one_of([value if isinstance(value, str) else json.dumps(value) for value in schema.get("enum", [schema.get("const")])])
    kind = schema.get("type")
    if kind == "array":
        return _list(schema, definitions)
    if kind == "object":
        return _mapping(schema, definitions, many)
    noun = NOUNS.get(str(kind), "anything")
    if many and kind in ("integer", "number", "string"):
        noun += "s"
    bounds = {"exclusiveMinimum": "above", "minimum": "at least", "exclusiveMaximum": "below", "maximum": "at most"}
    return ", ".join([noun, " and ".join(f"{said} {schema[key]:g}" for key, said in bounds.items() if key in schema)]).removesuffix(", ")


def _one_of(values: list[str]) -> str:
    return " or ".join([", ".join(values[:-1]), values[-1]] if len(values) > 1 else values)


def _list(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    if "prefixItems" in schema:
        inner = list(dict.fromkeys(words(one, definitions, many=True) for one in schema["prefixItems"]))
        return f"list of {len(schema['prefixItems'])} {' or '.join(inner)}"
    least = schema.get("minItems", 0)
    return f"list of {f'{least} or more ' if least > 1 else ''}{words(schema.get('items', {}), definitions, many=True)}"


def _mapping(schema: Mapping[str, Any], definitions: Mapping[str, Any], many: bool) -> str:
    values, keys = schema.get("additionalProperties"), list(schema.get("properties", {}))
    if isinstance(values, Mapping):
        inner = words(values, definitions, many=True)
        return f"{words(values, definitions)}, by name" if " or " in inner else f"{inner} by name"
    noun = "mappings" if many else "mapping"
    return f"{noun} with {', '.join(keys)}" if 0 < len(keys) <= LIST_AT_MOST else noun
