"""The JSON schema of the files that people write takes what the readers take, and refuses what they refuse."""

import copy
import json
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
from paths import ROOT

from windtunnel.core.errors import UserError
from windtunnel.core.schema import described, words
from windtunnel.recipe.yaml import Document
from windtunnel.slots import Schedule
from windtunnel.study.file import study_from
from windtunnel.study.schema import KINDS, schema

STUDIES = sorted((ROOT / "studies").glob("*.yaml"))
PAPERS = sorted((ROOT / "papers").glob("*/*/paper.yaml"))


@pytest.fixture(scope="module")
def of_kind() -> dict[str, jsonschema.protocols.Validator]:
    return {kind: jsonschema.Draft202012Validator(schema(kind)) for kind in KINDS}


def plainly(data: Any) -> Any:
    """What a file says as JSON has it: dates are text."""
    return json.loads(json.dumps(data, default=str))


def mappings(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
    for entry in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from mappings(entry)


def test_every_study_and_paper_is_what_the_schema_says(of_kind):
    assert len(STUDIES) > 8 and len(PAPERS) > 20
    for kind, files in (("study", STUDIES), ("paper", PAPERS)):
        for file in files:
            found = [f"{list(error.absolute_path)}: {error.message}" for error in of_kind[kind].iter_errors(plainly(Document(file).data))]
            assert not found, f"{file}: {found}"


@pytest.mark.parametrize("name", ["first-flight", "which-sources", "digits"])
def test_a_misspelt_key_is_refused_wherever_the_reader_refuses_it(of_kind, name):
    data = plainly(Document(ROOT / "studies" / f"{name}.yaml").data)
    refused = 0
    for place in range(len(list(mappings(data)))):
        for key in list(list(mappings(data))[place]):
            changed = copy.deepcopy(data)
            inner = list(mappings(changed))[place]
            inner[f"{key}x"] = inner.pop(key)
            try:
                study_from(changed, name=name)
            except UserError as error:
                if "unknown key" in str(error) or "is called" in str(error):
                    refused += "no source is called" not in str(error)
                    assert "no source is called" in str(error) or not of_kind["study"].is_valid(changed), (inner, str(error))
    assert refused > 8


def test_short_forms_are_taken(of_kind):
    recipe = {
        "corpus": {"notes": "~/notes", "code": {"files": "src"}, "more": {"builtin": {"text": "stdlib"}}},
        "section": "S",
        "tokenizer": {"vocabulary": 512},
        "losses": {"distillation": {"teacher": {"recipe": "small"}}},
        "curators": "normalise",
        "model": {"family": "vit", "patch": 2},
        "schedule": {"wsd": None},
        "start": {"checkpoint": "folder"},
        "recipes": {"small": {"share": 0.2, "model": {"layers": 2}}},
        "parts": "mine.py",
        "phases": [{"share": 1.0, "batch": 4}],
    }
    of_kind["recipe"].validate(recipe)
    for wrong in ({"start": {"checkpoint": None}}, {"schedule": {"wsd": None, "cosine": None}}, {"optimizer": "adam"}, {"batch": 0}):
        assert not of_kind["recipe"].is_valid({**recipe, **wrong}), wrong
    study = {"arms": {}, "seeds": 3, "rates": [0.5, 2], "tune": {"optimizer.*.learning_rate": [0.1, 0.2], "trials": 2}}
    of_kind["study"].validate(study)
    for wrong in ({"tune": {"optimiser.adamw.rate": [1]}}, {"seeds": {"least": 2, "mots": 5}}, {"rates": {"multiple": [2]}}):
        assert not of_kind["study"].is_valid({**study, **wrong}), wrong


def test_a_part_of_ones_own_is_in_it(spare_part):
    @spare_part
    class Stairs(Schedule, name="test-stairs"):
        """A schedule of this test."""

        height: int = 3

        def factor(self, *given):
            raise AssertionError

    own = jsonschema.Draft202012Validator(schema("recipe"))
    assert own.is_valid({"schedule": "test-stairs"}) and own.is_valid({"schedule": {"test-stairs": {"height": 4}}})
    assert not any(own.is_valid({"schedule": {"test-stairs": wrong}}) for wrong in ({"heigth": 4}, {"height": "four"}))
    assert described(Stairs)["height"]["type"] == "whole number"


def test_types_in_words():
    def said(**fields: Any) -> str:
        return words(fields, {})

    assert said(type="integer", minimum=1) == "whole number, at least 1"
    assert said(type="array", items={"type": "number"}, minItems=2) == "list of 2 or more numbers"
    assert said(anyOf=[{"type": "string"}, {"type": "array", "items": {"type": "string"}}, {"type": "null"}]) == "text or list of texts"
    assert said(type="object", additionalProperties={"type": "number"}) == "numbers by name"
    assert said(enum=["auto", "yes", False]) == "auto, yes or false"
