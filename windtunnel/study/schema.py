"""The files that people write, as JSON schema: a study, a recipe, a paper. For editors, and for the page of keys.

Everything comes from the models that read the files, and from the parts that are there. What is added here is what these models do not
hold because it is merged or spelt out before they see it: differences, short forms, the bare names of parts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from windtunnel.core import registry
from windtunnel.core.part import Part
from windtunnel.core.schema import first_sentence, name_in, schema_of
from windtunnel.recipe import Phase, Recipe, section
from windtunnel.recipe.settings import SHORT
from windtunnel.slots import Family, Source
from windtunnel.study.experiment import ExperimentFile
from windtunnel.study.file import StudyFile
from windtunnel.study.papers import Paper
from windtunnel.study.tune import tunable

KINDS = ("study", "recipe", "paper")
DIALECT = "https://json-schema.org/draft/2020-12/schema"
# What a file may write of a recipe that its model does not hold.
ADDED: dict[str, dict[str, Any]] = {
    SHORT: {
        "elsewhere": "Encoding.bpe",
        "words": "knobs of bpe",
        "description": "short form of `encoding: {bpe: ...}`",
        "examples": [{"vocabulary": 1024}],
    },
    section.KEY: {"enum": list(section.ORDER), "description": "tuned settings that all others stand on", "examples": ["S"]},
}
# And beside it, in a file of its own.
BESIDE: dict[str, dict[str, Any]] = {
    "recipes": {
        "type": "object",
        "additionalProperties": {"elsewhere": "HeldDifference", "words": "keys of a recipe"},
        "description": "recipes that parts name: by name, what differs from this one",
        "examples": [{"small": {"model": {"layers": 2}, "share": 0.2}}],
    },
    "parts": schema_of(StudyFile)[0]["properties"]["parts"],
}


def schema(kind: str) -> dict[str, Any]:
    """The JSON schema of a file of ``kind`` (one of :data:`KINDS`), with every part that is known now."""
    roots = {"study": "Study", "recipe": "Recipe", "paper": "Paper"}
    definitions = all_definitions()
    root = definitions[roots[kind]]
    used = _used(root, definitions)
    return {"$schema": DIALECT, "title": f"Windtunnel: a {kind}", **root, "$defs": {name: definitions[name] for name in sorted(used)}}


def all_definitions() -> dict[str, dict[str, Any]]:
    """Everything that may stand in a file, by name, each referring to others as ``#/$defs/NAME``."""
    found: dict[str, Any] = {}
    for settings in (StudyFile, Recipe, Phase, Paper):
        found[settings.__name__] = _gathered(settings, found)
    for slot in registry.slots().values():
        found[slot.__name__] = _filling(slot, found)
    found["ModelSettings"] = _model(found["ModelSettings"])
    found["Tune"] = _tune(found["Tune"])
    study, recipe, phase, paper = (found.pop(settings.__name__) for settings in (StudyFile, Recipe, Phase, Paper))
    own, trained = phase["properties"], recipe["properties"]
    written = {**trained, **own, **ADDED, "phases": {**trained["phases"], "items": {"$ref": "#/$defs/Phase"}}}
    found |= {
        "Study": _mapping(study["properties"], StudyFile, required=["arms"]),
        "Scale": {"anyOf": [_mapping({**study["properties"], **_left_out(study["properties"])}, StudyFile), _experiment(found)]},
        "Recipe": _mapping({**written, **BESIDE}, Recipe),
        "Difference": _mapping({key: value for key, value in written.items() if key != "share"}, Recipe),
        "HeldDifference": _mapping(written, Recipe),
        "HeldRecipe": {"anyOf": [{"type": "string"}, {"$ref": "#/$defs/HeldDifference"}]},
        "Phase": _mapping(own, Phase),
        "Paper": _mapping(paper["properties"], Paper, required=paper["required"]),
    }
    return {name: _joined(one) for name, one in found.items()}


def _experiment(found: dict[str, Any]) -> dict[str, Any]:
    """A scale that trains nothing."""
    return _mapping(_gathered(ExperimentFile, found)["properties"], ExperimentFile, required=["experiment", "arms"])


def _left_out(study: Mapping[str, Any]) -> dict[str, Any]:
    """What a further scale may leave out by null: arms and recipes of the first."""
    inner = {key: {"anyOf": [study[key]["additionalProperties"], {"type": "null"}]} for key in ("arms", "recipes")}
    return {key: {**study[key], "additionalProperties": entry} for key, entry in inner.items()}


def _mapping(properties: Mapping[str, Any], about: type[BaseModel], required: list[str] | None = None) -> dict[str, Any]:
    found: dict[str, Any] = {"type": "object", "description": first_sentence(about), "properties": dict(properties)}
    return {**found, "additionalProperties": False, **({"required": required} if required else {})}


def _gathered(settings: type[BaseModel], found: dict[str, Any]) -> dict[str, Any]:
    """The schema of ``settings``; those of the settings in it are put into ``found``."""
    own, inner = schema_of(settings)
    found |= {name: one for name, one in inner.items() if name not in found}
    return own


def _filling(slot: type[Part], found: dict[str, Any]) -> dict[str, Any]:
    """What may stand where a part of ``slot`` does: a bare name, or one key with its knobs. The parts are put into ``found``."""
    bare: list[str] = []
    keyed = {}
    for name, part in registry.names(slot).items():
        own = found[f"{slot.__name__}.{name}"] = _gathered(part, found)
        required = own.get("required", [])
        if not required:
            bare.append(name)
        choices: list[dict[str, Any]] = [{"$ref": f"#/$defs/{slot.__name__}.{name}"}, *([] if required else [{"type": "null"}])]
        if len(required) == 1:  # its value alone will do
            choices.append({**own["properties"][required[0]], "not": {"type": ["object", "array"]}})
        keyed[name] = {"anyOf": choices}
    bare_form: dict[str, Any] = {"enum": bare}
    if slot is Source:  # a path, builtin:NAME or hf:OWNER/NAME
        bare_form = {"type": "string"}
    one_key = {"type": "object", "properties": keyed, "minProperties": 1, "maxProperties": 1, "additionalProperties": False}
    return {"description": first_sentence(slot), "anyOf": [bare_form, one_key] if slot is Source or bare else [one_key]}


def _model(own: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a model: a family's own fields stand beside the sizes."""
    families = registry.names(Family)
    properties = {**own["properties"], "family": {**own["properties"]["family"], "enum": sorted(families)}}
    del properties["family"]["$ref"]
    for name, family in families.items():
        for key, field in schema_of(family)[0].get("properties", {}).items():
            said = f"{name}: {field.get('description', '')}"
            before = properties.get(key)
            if before is None:
                properties[key] = {**field, "description": said}
            elif said not in before["description"]:
                properties[key] = {"anyOf": [before, field], "description": f"{before['description']}; {said}"}
    return {**own, "properties": properties}


def _tune(own: Mapping[str, Any]) -> dict[str, Any]:
    """What is tuned: the paths of knobs stand beside ``trials`` and ``share``."""
    knobs = {"type": "array", "minItems": 1}
    first = "|".join(tunable())
    return {**own, "required": [], "patternProperties": {rf"^({first})(\.[^.]+)*$": knobs}}


def _joined(value: Any) -> Any:
    """``value`` with a reference wherever it says that something is described elsewhere."""
    if isinstance(value, Mapping):
        found = {key: _joined(entry) for key, entry in value.items() if key not in ("elsewhere", "words")}
        return {**found, "$ref": f"#/$defs/{value['elsewhere']}"} if isinstance(value.get("elsewhere"), str) else found
    return [_joined(entry) for entry in value] if isinstance(value, list) else value


def _used(value: Any, definitions: Mapping[str, Any], found: set[str] | None = None) -> set[str]:
    """The names of the definitions that ``value`` refers to, and those that these do."""
    found = set() if found is None else found
    if isinstance(value, Mapping):
        if isinstance(value.get("$ref"), str) and (name := name_in(value)) not in found:
            found.add(name)
            _used(definitions[name], definitions, found)
        for entry in value.values():
            _used(entry, definitions, found)
    elif isinstance(value, list):
        for entry in value:
            _used(entry, definitions, found)
    return found
