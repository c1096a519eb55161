"""Parts in a file of the user's, in a script or a notebook: found, hashed, stored, and defined again where they are flown."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
import yaml

from windtunnel.core import outside, registry
from windtunnel.core.errors import UserError
from windtunnel.recipe import load_recipe
from windtunnel.slots import Progress, Schedule

STAIRCASE = '''\
from pydantic import Field
from windtunnel.slots import Progress, Schedule


class Staircase(Schedule, name="test-staircase"):
    """Lower the learning rate in equal steps."""

    stairs: int = Field(4, ge=1, description="how many steps")

    def factor(self, progress: Progress, peak: float) -> float:
        return 1 - int(progress.done * self.stairs) / (self.stairs + {more})
'''
HALFWAY = Progress(5, 10, 0, 1, 1, 0.5, 0.5, 0)


@pytest.fixture(autouse=True)
def forgotten() -> Any:
    """No part of a test is known to the next."""
    yield
    for name in [name for name in registry._parts[Schedule] if name.startswith("test-")]:
        registry._parts[Schedule].pop(name)
    for name in list(outside._sources):
        outside._sources.pop(name)
        sys.modules.pop(name, None)


def written(path: Path, more: int = 1) -> Path:
    path.write_text(STAIRCASE.format(more=more), encoding="utf-8")
    return path


def test_a_file_defines_parts_and_a_changed_file_defines_them_anew(tmp_path: Path) -> None:
    outside.load_file(written(tmp_path / "mine.py"))
    first = registry.find(Schedule, "test-staircase")
    assert first is not None and registry.make(Schedule, {"test-staircase": {"stairs": 2}}).factor(HALFWAY, 1.0) == pytest.approx(2 / 3)
    before = outside.digest_of(first)
    outside.load_file(tmp_path / "mine.py")
    assert registry.find(Schedule, "test-staircase") is first, "the same text is run once"
    outside.load_file(written(tmp_path / "mine.py", more=2))
    second = registry.find(Schedule, "test-staircase")
    assert second is not None and registry.make(Schedule, {"test-staircase": {"stairs": 2}}).factor(HALFWAY, 1.0) == pytest.approx(3 / 4)
    assert outside.digest_of(second) != before


def test_mistakes_name_file_and_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere\.py: No such file"):
        outside.load_file(tmp_path / "nowhere.py")
    for text, said in {
        "x = 1\n": "defines no part",
        "\n\nimport a_library_that_is_not_there\n": r"bad\.py:3: ModuleNotFoundError",
        "def f(:\n": r"bad\.py:1: SyntaxError",
        STAIRCASE.format(more=1).replace("test-staircase", "cosine"): r"bad\.py:5: TypeError: two parts are called 'cosine'",
    }.items():
        (tmp_path / "bad.py").write_text(text, encoding="utf-8")
        with pytest.raises(UserError, match=said):
            outside.load_file(tmp_path / "bad.py")


def test_a_recipe_names_its_files_and_keeps_their_source(tmp_path: Path) -> None:
    written(tmp_path / "mine.py")
    recipe = {"corpus": {"a": "x"}, "budget": {"steps": 2}, "parts": ["mine.py"], "schedule": {"test-staircase": {"stairs": 3}}}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    read = load_recipe(tmp_path / "recipe.yaml")
    [source] = outside.sources_of(read)
    assert source.name == "mine.py" and not outside.without_source(read)
    outside.store(read, tmp_path / "run")
    assert next((tmp_path / "run").rglob("mine.py")).read_text(encoding="utf-8") == STAIRCASE.format(more=1)
    recipe["parts"] = ["mien.py"]
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    with pytest.raises(UserError, match=r"recipe\.yaml:\d+: parts\.0: .*mien\.py: No such file"):
        load_recipe(tmp_path / "recipe.yaml")


def test_the_parts_of_this_package_are_not_outside() -> None:
    assert not any(outside.is_outside(part) for part in registry.names(Schedule).values())
    assert outside.digest_of(registry.names(Schedule)["cosine"]) is None


NOTEBOOK = """
import math as m
from pydantic import Field
from windtunnel.core import outside
from windtunnel.slots import Schedule

LOW = 0.25

def half(value):
    return max(m.floor(value) / 2, LOW)

class Halved(Schedule, name="test-halved"):
    "Half the rate."
    knob: int = Field(3, description="nothing")
    def factor(self, progress, peak):
        return half(progress.done * self.knob)

print(outside.source_of(Halved).text)
"""


def test_a_part_of_a_script_is_written_down_with_what_it_uses(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(NOTEBOOK, encoding="utf-8")
    done = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, timeout=240, check=True)
    outside.define([outside.PartSource("halved.py", done.stdout)])
    assert registry.make(Schedule, "test-halved").factor(HALFWAY, 1.0) == 0.5
    assert "LOW = 0.25" in done.stdout and "import math as m" in done.stdout


def test_a_part_without_source_is_told_by_its_code() -> None:
    def typed(number: str) -> Any:
        space = {"__name__": "__main__"}
        exec(textwrap.dedent(STAIRCASE.format(more=number)).replace("test-staircase", "test-typed"), space)
        return space["Staircase"]

    one, same, other = typed("1"), typed("1"), typed("2")
    assert outside.source_of(one) is None and outside.without_source(other(stairs=1)) == ["test-typed"]
    assert outside.digest_of(one) == outside.digest_of(same) != outside.digest_of(other)


def test_a_part_without_the_method_of_its_slot_is_refused_where_it_is_defined(tmp_path: Path) -> None:
    file = written(tmp_path / "mine.py")
    file.write_text(file.read_text(encoding="utf-8").replace("def factor", "def factors"), encoding="utf-8")
    said = r"mine.py:5: TypeError: part 'test-staircase' has no method `factor`, which a Schedule needs; did you mean that by `factors`\?"
    with pytest.raises(UserError, match=said):
        outside.load_file(file)
    assert registry.find(Schedule, "test-staircase") is None
