"""The page of keys: whole, with an example of each that the readers take."""

from typing import Any

from windtunnel.recipe import Budget, Phase, Recipe
from windtunnel.recipe.settings import SplitSettings
from windtunnel.report.reference import default, example, flow, groups, keys_page
from windtunnel.study.file import StudyFile, study_from
from windtunnel.study.papers import Paper

STUDY: dict[str, Any] = {
    "corpus": {"notes": "~/notes", "code": "builtin:stdlib"},
    "held_out": {"target": "questions.jsonl"},
    "budget": {"steps": 4},
    "arms": {"slow": {"schedule": "linear"}},
    "recipes": {"small": {"model": {"layers": 2}, "share": 0.2}},
}
# What has to stand beside a key; None: it stands at the top of the study, or in a second phase.
BESIDE: dict[str, Any] = {
    "micro_batch": {"batch": 8},
    "limits": {"start": {"checkpoint": "folder"}},
    "phases": {"model": {"depth": 8}},
    **dict.fromkeys(("corpus", "held_out", "budget", "recipes", "parts", "share", "moments")),
}
INSIDE = {
    "split": {"field": {"since": {"test": 3}}, "since": {"field": "date"}, "where": {"field": "set"}},
    "tokenizer": {"extend": {"folder": "x"}},
}


def by_name() -> dict[str, dict[str, Any]]:
    return {group.name: group.keys for group in groups()}


def test_every_key_is_on_the_page_with_an_example_and_a_meaning():
    text, found = keys_page(), by_name()
    for settings, name in ((StudyFile, "study"), (Recipe, "recipe"), (Phase, "phases"), (Paper, "paper"), (SplitSettings, "split")):
        assert found[name].keys() >= settings.model_fields.keys()
    assert {"sources", "held_out", "primary", "extract", "encoding", "template", "tokenizer", "section"} <= {
        k for g in found.values() for k in g
    }
    for name, keys in found.items():
        for key, about in keys.items():
            assert about["description"] and about["type"] and about["example"] is not None, f"{name}.{key}"
            assert f"| `{key}` |" in text and example(key, about) in text


def test_the_examples_are_taken_by_the_readers():
    found = by_name()
    for key, about in found["study"].items():
        if key != "parts":  # whose file is not there
            study_from({**STUDY, key: about["example"]}, name="example")
    for key, about in found["budget"].items():
        study_from({**STUDY, "budget": {key: about["example"]}}, name="example")
    for key, about in (found["recipe"] | found["phases"]).items():
        if BESIDE.get(key, {}) is not None:
            study_from({**STUDY, "baseline": {**BESIDE.get(key, {}), key: about["example"]}}, name="example")
    for name in ("split", "model", "tokenizer"):
        for key, about in found[name].items():
            written = {key: about["example"], **INSIDE.get(name, {}).get(key, {})}
            study_from({**STUDY, "baseline": {name: written}}, name="example")


def test_values_are_shown_as_a_file_has_them():
    assert flow({"a": [1, 1e12, True, None, "no: yes"], "b": {}}) == "{a: [1, 1e12, true, null, 'no: yes'], b: {}}"
    about = by_name()["study"]
    assert default("name", about["name"]) == "that of the file" and default("corpus", about["corpus"]) == "must be given"
    assert default("seeds", about["seeds"]) == "[0, 1, 2, 3, 4]" and default("kept", about["kept"]) == "–"
    assert example("seeds", about["seeds"]) == "seeds: {least: 3, most: 12}"
    assert set(Budget.model_fields) - {"shared"} == by_name()["budget"].keys(), "what only Windtunnel itself writes is not told"
