"""The form in which results are committed: small, and nothing that a report or a law reads is lost."""

from __future__ import annotations

import copy
import json
import math
import re
from typing import Any

import pytest
from example_result import example
from hypothesis import given, settings
from hypothesis import strategies as st

from windtunnel.core.errors import UserError
from windtunnel.recipe import Recipe, recipe_from
from windtunnel.report import markdown
from windtunnel.report.charts import bands
from windtunnel.report.document import document
from windtunnel.report.reading import Reading
from windtunnel.study.compact import POINTS, compact, like, restored, rows, table, text, unlike
from windtunnel.study.results import load, read_result, save

BASE = {
    "corpus": {"code": "builtin:stdlib"},
    "budget": {"steps": 10},
    "model": {"depth": 2},
    "objective": "next-token",
    "schedule": {"cosine": {"warmup": 0.05}},
}
ARMS: dict[str, dict[str, Any]] = {
    "same": {},
    "wider": {"model": {"depth": 2, "width": 96}},
    "wsd": {"schedule": {"wsd": {"decay": 0.2}}},
    "grown": {"phases": [{"share": 0.25, "model": {"layers": 1}}, {"share": 0.75, "start": {"stack": {"factor": 2}}, "clip": 2.0}]},
    "taught": {"losses": [{"distillation": {"teacher": {"recipe": {**BASE, "model": {"depth": 4}}}}}]},
    "longer": {"budget": {"tokens": 10_000}, "corpus": {"code": "builtin:stdlib", "prose": "builtin:docstrings"}},
}


def dumped(fields: dict[str, Any]) -> dict[str, Any]:
    recipe = recipe_from({**BASE, **fields})
    assert isinstance(recipe, Recipe)
    return json.loads(json.dumps(recipe.model_dump(mode="json")))


@pytest.mark.parametrize("arm", ARMS)
def test_a_recipe_is_what_differs_from_the_baseline(arm):
    base, recipe = dumped({}), dumped(ARMS[arm])
    before = copy.deepcopy(base)
    found = like(recipe, base)
    assert unlike(json.loads(json.dumps(found)), base) == recipe and base == before
    assert len(json.dumps(found)) < 0.6 * len(json.dumps(recipe))
    assert (found == {"as": "baseline", "but": {}}) == (arm == "same")


NAMES = st.text("ab/~1", min_size=1, max_size=3)
VALUES = st.none() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3) | st.lists(st.integers(), max_size=2)


@settings(deadline=None)
@given(st.lists(st.dictionaries(NAMES, VALUES | st.dictionaries(NAMES, VALUES, min_size=1, max_size=3), max_size=4), max_size=4))
def test_a_table_holds_every_value_of_its_records(records):
    # One name is a value in all records or a mapping in all of them, as in a result.
    blocks = {name for record in records for name, value in record.items() if isinstance(value, dict)}
    records = [{name: value for name, value in one.items() if (name in blocks) == isinstance(value, dict)} for one in records]
    found = rows(json.loads(json.dumps(table(records))))
    assert [{name: value for name, value in one.items() if value != {}} for one in found] == records
    assert all(blocks <= one.keys() for one in found)


def test_what_is_nothing_in_one_record_and_a_mapping_in_another():
    records = [{"seed": 0, "failure": None}, {"seed": 1, "failure": {"kind": "user", "message": "no such file"}}]
    assert rows(json.loads(json.dumps(table(records)))) == records


def told(shown: str) -> tuple[list[str], list[float]]:
    """The words of a page, and its numbers: one that is rounded twice may end in another digit."""
    pattern = r"\d+\.\d+"
    return re.split(pattern, shown), [float(found) for found in re.findall(pattern, shown)]


def test_what_a_report_shows_is_the_same_of_both_forms():
    result = json.loads(json.dumps(example()))
    small = restored(json.loads(text(compact(result))))
    (words, numbers), (same_words, same_numbers) = told(markdown(small)), told(markdown(result))
    assert words == same_words and numbers == pytest.approx(same_numbers, rel=1e-3)
    assert small["recipes"] == result["recipes"] and [run["key"] for run in small["runs"]] == [run["key"] for run in result["runs"]]
    for name in ("baseline", *result["arms"]):
        one, other = bands(Reading(small), name), bands(Reading(result), name)
        assert bool(one) == bool(other) and len(one) <= POINTS * len(result["runs"])
        for end in (0, -1) if one else ():
            assert one[end]["flops"] == pytest.approx(other[end]["flops"])
            assert one[end]["value"] == pytest.approx(other[end]["value"], rel=1e-4)
    headings = re.compile(r"<h[1-4].*?</h[1-4]>", re.DOTALL)
    assert headings.findall(document(small)) == headings.findall(document(result))


def test_a_result_is_written_small_and_read_in_both_forms(tmp_path):
    result = json.loads(json.dumps(example()))
    assert result["format"] == 2
    large, small = tmp_path / "result.json", tmp_path / "folder" / "small.json"
    large.write_text(json.dumps(result), encoding="utf-8")
    written = save(result, small)
    assert load(large) == result == read_result(large) and load(small) == written == read_result(small)
    assert small.stat().st_size < 0.6 * large.stat().st_size and not list(small.parent.glob(".*"))
    assert save(written, small) == written, "made small once more it is the same"
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        save(result, tmp_path / "file" / "small.json")


def test_numbers_are_rounded_but_not_those_of_recipes():
    result = {**example(), "flops": 1234567890123.0, "seconds": 12.3456789, "share": math.pi}
    result["recipes"] = {"baseline": {"clip": math.pi, "phases": [{"share": 1.0}]}}
    small = restored(compact(result))
    assert (small["flops"], small["seconds"], small["share"]) == (1234567890123.0, 12.35, 3.141593)
    assert small["recipes"]["baseline"]["clip"] == math.pi
