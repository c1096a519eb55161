"""The Python door: what docs/python.md shows, in its order, and what the objects promise."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas
import pytest
import warm
from example_result import example
from paths import ROOT

import windtunnel as wt

PAGE = ROOT / "docs" / "python.md"
BLOCK = re.compile(r"^```(python|yaml)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The names that the blocks of the page leave behind, run in order in a folder with some notes."""
    folder = tmp_path_factory.mktemp("python")
    (folder / "notes").mkdir()
    for number in range(40):
        (folder / "notes" / f"{number}.md").write_text(f"note {number}: " + f"thing {number * number} and more " * 30, encoding="utf-8")
    blocks = BLOCK.findall(PAGE.read_text(encoding="utf-8"))
    runnable = []
    for language, body in blocks:
        first, _, rest = body.partition("\n")
        if first.startswith("# file: "):
            (folder / first.removeprefix("# file: ").strip()).write_text(rest, encoding="utf-8")
        elif language == "python":
            runnable.append(body)
    names: dict[str, Any] = {"folder": folder}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for body in runnable:
            exec(compile(body, str(PAGE), "exec"), names)
    for name in ("mail", "kept"):
        (folder / name).mkdir()
        for number in range(120):
            words = f"{name} {number}: " + f"dear {number * number} and others " * 20
            (folder / name / f"{number}.txt").write_text(words, encoding="utf-8")
    return names


def test_the_page_runs_and_its_study_has_verdicts(shown: dict[str, Any]) -> None:
    result, folder = shown["result"], shown["folder"]
    assert list(result.verdicts) == ["linear"] and result.verdicts["linear"] is not None
    table = shown["table"]
    assert isinstance(table, pandas.DataFrame) and list(table.index) == ["baseline", "linear"] and "verdict" in table.columns
    assert table.loc["linear", "difference"] == pytest.approx(table.loc["linear", "bits_per_byte"] - table.loc["baseline", "bits_per_byte"])
    assert (folder / "flown" / "studies" / "rates" / "report.html").is_file()
    assert len(result.runs()) == 4 and set(result.runs()["status"]) == {"finished"}
    assert "<table" in result._repr_html_() and "linear" in repr(result)
    assert (folder / "run" / "model" / "model.safetensors").is_file()


def test_the_source_of_a_part_is_kept_with_its_runs_and_changes_their_key(shown: dict[str, Any]) -> None:
    folder, own = shown["folder"], shown["own"]
    runs = own.runs().assign(folder=[run["folder"] for run in own.data["runs"]])
    mine = runs[runs["arm"] == "staircase"]["folder"]
    for run in mine:
        [kept] = (folder / "flown" / run / "parts").rglob("mine.py")
        assert kept.read_text(encoding="utf-8") == (folder / "mine.py").read_text(encoding="utf-8")
    file = folder / "mine.py"
    before = wt.read(folder / "own-part.yaml").recipes
    file.write_text(file.read_text(encoding="utf-8") + "\n# changed\n", encoding="utf-8")
    after = wt.read(folder / "own-part.yaml").recipes
    changed = {arm: before[arm].identity() != after[arm].identity() for arm in before}
    assert changed == {"baseline": False, "staircase": True}


SCRIPT = """
import windtunnel as wt
import levels.third

class Half(wt.Schedule, name="half"):
    "Half the rate."
    def factor(self, progress, peak):
        return LEVEL

LEVEL = 0.5

base = {"context": 32, "batch": 2, "precision": "float32", "compile": "no", "tokenizer": {"vocabulary": 400}}
base["model"] = {"layers": 1, "width": 32, "heads": 2}
said = {"name": "script", "corpus": {"notes": "notes"}, "budget": {"steps": 2}, "seeds": [0], "curve": [1], "baseline": base}
arms = {"half": {"schedule": "half"}, "third": {"schedule": "third"}}
print(wt.read(said | {"arms": arms}).fly(out="flown", quiet=False, **HOW).runs()["status"].tolist())
"""
PACKAGED = """
from windtunnel.slots import Schedule

class Third(Schedule, name="third"):
    "A third of the rate."
    def factor(self, progress, peak):
        return 1 / 3
"""


@pytest.mark.parametrize("typed", [False, True], ids=["script", "bare interpreter"])
def test_parts_of_a_script_fly_and_those_without_source_fly_here(shown: dict[str, Any], typed: bool) -> None:
    folder = shown["folder"]
    text = SCRIPT.replace("**HOW", "workers=1")
    (folder / "script.py").write_text(text, encoding="utf-8")
    (folder / "levels").mkdir(exist_ok=True)
    for name, content in {"__init__": "", "third": PACKAGED}.items():
        (folder / "levels" / f"{name}.py").write_text(content, encoding="utf-8")
    if typed:
        done = warm.run(code=text, folder=folder)
    else:  # no worker runs the script again, though nothing guards it
        done = subprocess.run([sys.executable, "script.py"], cwd=folder, capture_output=True, text=True, timeout=500)
    assert done.stdout.strip().endswith("['finished', 'finished', 'finished']"), done.stderr
    assert ("fly in this one" in done.stderr) == typed


def test_tables_of_a_result_have_an_arm_a_row_whatever_came_of_it() -> None:
    result = wt.Result(example())
    table = result.table()
    assert table["verdict"].to_dict() == {"baseline": "reference", **result.verdicts}
    assert table.loc["muon", "verdict"] == "failed" and pandas.isna(table.loc["muon", "difference"])
    assert table.loc["g-stack", "low"] < table.loc["g-stack", "difference"] < table.loc["g-stack", "high"]
    assert len(result.plot().to_dict()["hconcat"]) == 2
    assert (result.runs().set_index("arm").loc["muon", "error"].str.contains("the loss is nan")).all()
    bare = result.result.model_copy(update={"arms": {"muon": result.result.arms["muon"]}})
    assert wt.Result(bare).table().round(3).loc["muon", ["low", "compute_gain"]].isna().all(), "numbers, though there are none"


def test_names_are_there_and_nothing_is_imported_for_them() -> None:
    code = "import sys, windtunnel as wt; dir(wt); wt.Schedule, wt.Field, wt.UserError, wt.read; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert not {"torch", "transformers", "pandas", "altair", "scipy"} & set(done.stdout.split())
    assert set(dir(wt)) >= {"read", "train", "adapt", "parts", "Schedule", "Objective", "Start", "Trained"}
    with pytest.raises(AttributeError, match="no attribute 'raed'"):
        _ = wt.raed  # type: ignore[attr-defined]
    with pytest.raises(wt.UserError, match="did you mean 'Schedule'"):
        wt.parts("Schedul")
    assert set(wt.parts("Schedule")["part"]) >= {"cosine", "wsd"}


def test_mistakes_in_mappings_are_told_as_those_of_files_are(tmp_path: Path) -> None:
    with pytest.raises(wt.UserError, match=r"recipe: unknown key 'seeds'"):
        wt.train({"corpus": {"notes": "notes"}, "seeds": 3}, out=tmp_path / "run")
    with pytest.raises(wt.UserError, match=r"curation: curators.0: no Curator is called 'lenght'; did you mean 'length'"):
        wt.curate({"notes": "notes"}, tmp_path / "curated", curators=["lenght"])
    with pytest.raises(wt.UserError, match=r"curators.0: no Curator is called 'lenght'"):
        wt.curate({"notes": "notes"}, tmp_path / "curated", curators="lenght")
    with pytest.raises(wt.UserError, match=r"^study: no corpus"):
        wt.read({"corpus": {}})
    with pytest.raises(wt.UserError, match=r"no-study\.yaml: no such file"):
        wt.pack(tmp_path / "no-study.yaml", tmp_path / "pack")


def test_a_device_that_is_not_there_is_told_before_anything_is_read(tmp_path: Path) -> None:
    recipe = {"corpus": {"notes": str(tmp_path / "nowhere")}, "budget": {"steps": 1}, "model": {"depth": 2}}
    with pytest.raises(wt.UserError, match="--device mps: runs are checked on cpu and cuda alone"):
        wt.train(recipe, out=tmp_path / "run", device="mps")
    study = {"corpus": recipe["corpus"], "budget": {"steps": 1}, "baseline": {"model": {"depth": 2}}, "arms": {"a": {"schedule": "linear"}}}
    with pytest.raises(wt.UserError, match="--device mps"):
        wt.read(study).fly(out=tmp_path / "out", device="mps")


def test_adapting_from_python_is_what_the_command_does(shown: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(shown["folder"])
    how: dict[str, Any] = {"keep": {"kept": "kept"}, "budget": "2 steps", "max_forgetting": None, "context": 32, "batch": 2, "threads": 1}
    result = wt.adapt("run", {"letters": "mail"}, "adapted", **how)
    assert set(dict(result)["sources"]) == {"letters", "kept"} and Path("adapted/report.html").is_file() and Path("adapted/model").is_dir()


def test_studies_take_in_python_what_their_commands_take(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(
        "corpus: {notes: builtin:docstrings}\nbudget: {steps: 4}\nseeds: 3\n"
        "baseline: {batch: 4, model: {layers: 1, width: 32, heads: 2}}\narms: {}\n"
    )
    study = wt.read(file, settings={"baseline.batch": 8, "seeds": 2, "budget": {"steps": 5}})
    assert study.recipes["baseline"].phases[0].batch == 8 and len(study.file.seed_list) == 2 and study.file.budget.amount == 5
    with pytest.raises(wt.UserError, match="change the mapping"):
        wt.read({}, settings={"seeds": 2})
    there = study.elsewhere("h100", days=1)
    assert set(there["runs"]) == {"baseline"} and "h100" in there["sentences"][0].lower()
    asked: list[Any] = []

    def flown(*_: Any, **given: Any) -> Any:
        asked.append((given["device"], given["loggers"]))
        raise KeyboardInterrupt

    monkeypatch.setattr("windtunnel.study.fly.fly_study", flown)
    monkeypatch.setattr("windtunnel.train.machine.refuse_device", lambda *given, **more: None)  # this machine may have none
    with pytest.raises(KeyboardInterrupt):
        study.fly(device="cuda:1", loggers=["tensorboard"])
    assert asked == [("cuda:1", ("tensorboard",))]


def test_windows_is_refused_at_the_start(monkeypatch):
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(ImportError, match="WSL 2"):
        runpy.run_path(wt.__file__)
