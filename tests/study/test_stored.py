"""What is stored, who needs it, and what may go."""

from __future__ import annotations

import json
import re
import shutil

import pytest

from windtunnel.commands.main import main
from windtunnel.core.errors import UserError
from windtunnel.core.files import locked
from windtunnel.core.keys import Variant
from windtunnel.study.file import load_study
from windtunnel.study.stored import removable, remove, stored_runs, usage
from windtunnel.train.record import RunRecord, write_record


@pytest.fixture
def out(tmp_path):
    """Four runs: of a study, one that this holds, a trial of its tuning, and one of nobody."""
    needed = {"identity": {"folder": str(tmp_path / "runs" / "teacher-1")}}
    for name, held in (("arm-1", needed), ("teacher-1", {}), ("trial-1", {}), ("idle-1", {})):
        folder = tmp_path / "runs" / name
        (folder / "model").mkdir(parents=True)
        (folder / "model" / "weights").write_bytes(b"0" * 1000)
        record = RunRecord(key=name, seed=0, status="finished", needed=held, test={"bits_per_byte": 2.5}, primary="bits_per_byte")
        write_record(folder, record)
    result = {
        "study": {"name": "mine"},
        "runs": [{"folder": "runs/arm-1", "arm": "wsd"}],
        "tuning": {"arms": {"wsd": {"trials": [{"key": "trial"}]}}},
    }
    (tmp_path / "studies" / "mine").mkdir(parents=True)
    (tmp_path / "studies" / "mine" / "result.json").write_text(json.dumps(result))
    (tmp_path / "cache" / "streams" / "s").mkdir(parents=True)
    (tmp_path / "cache" / "streams" / "s" / "tokens").write_bytes(b"0" * 500)
    return tmp_path


def test_runs_are_needed_by_studies_and_by_what_studies_need(out):
    found = {run.name: run for run in stored_runs(out)}
    assert {name: run.needed_by for name, run in found.items()} == {
        "arm-1": ["mine: wsd"],
        "teacher-1": ["mine: wsd"],
        "trial-1": ["mine: wsd, tuning"],
        "idle-1": [],
    }
    assert found["arm-1"].primary == "bits_per_byte 2.5000" and found["arm-1"].bytes > 1000
    sizes = usage(out)
    assert sizes["runs: weights"] == 4000 and sizes["prepared: encoded"] == 500


def test_only_what_nobody_needs_goes_unless_asked(out):
    assert [one.path.name for one in removable(out)] == ["idle-1"]
    assert len(removable(out, weights=True, cache=True)) == 1 + 3 + 1
    with locked(out / "runs" / "idle-1" / ".lock") as mine:
        assert mine
        freed, left = remove(removable(out))
    assert freed == 0 and "a process is working on it" in left[0] and (out / "runs" / "idle-1").is_dir()
    freed, left = remove(removable(out, weights=True))
    assert freed > 4000 and not left
    assert not (out / "runs" / "idle-1").exists() and (out / "runs" / "arm-1" / "record.json").is_file()
    assert not (out / "runs" / "arm-1" / "model").exists() and not removable(out)


def test_a_study_is_told_by_its_file_its_name_or_its_folder(out, tmp_path_factory, capsys):
    file = tmp_path_factory.mktemp("work") / "asked.yaml"
    file.write_text("name: mine\n")
    shutil.copytree(out / "studies" / "mine", out / "studies" / "other")
    other = json.loads((out / "studies" / "mine" / "result.json").read_text())
    (out / "studies" / "other" / "result.json").write_text(json.dumps({**other, "study": {"name": "other"}, "tuning": None}))
    for study in (str(file), "mine", str(out / "studies" / "mine")):
        with pytest.raises(SystemExit, match="0"):
            main(["runs", study, "--out", str(out), "--json"])
        names = {run["folder"].rpartition("/")[2] for run in json.loads(capsys.readouterr().out)}
        assert names == {"arm-1", "teacher-1", "trial-1"}
    assert usage(out, "mine")["runs: weights"] == 3000 and "prepared: encoded" not in usage(out, "mine")
    alone = [one.path.parent.name for one in removable(out, "mine", weights=True)]
    assert alone == ["trial-1"], "the others are needed by another study too, and the idle one was never its own"
    for arguments, says in (
        (["du", "mihne"], "mihne: no study 'mihne' was begun in .*; did you mean 'mine'"),
        (["clean", "mine"], "mine: of one study only the weights of its runs can go: give --weights"),
    ):
        with pytest.raises(SystemExit, match="2"):
            main([*arguments, "--out", str(out)])
        assert re.search(says, capsys.readouterr().err)


def test_clean_asks_first(out, capsys):
    with pytest.raises(SystemExit) as end:
        main(["clean", "--out", str(out)])
    told = capsys.readouterr().err
    assert end.value.code == 2 and "idle-1" in told and "give --yes" in told and (out / "runs" / "idle-1").is_dir()
    for words in (["runs"], ["du"], ["clean", "--yes"]):
        with pytest.raises(SystemExit) as end:
            main([*words, "--out", str(out)])
        assert end.value.code == 0
    assert not (out / "runs" / "idle-1").exists()


def test_folders_and_results_that_cannot_be_judged_are_refused(out, tmp_path_factory):
    with pytest.raises(UserError, match="no such folder"):
        stored_runs(out / "nowhere")
    with pytest.raises(UserError, match="not the --out of studies"):
        usage(tmp_path_factory.mktemp("empty"))
    (out / "studies" / "mine" / "result.json").write_text("{")
    with pytest.raises(UserError, match="nobody knows which runs it needs"):
        removable(out)


def test_runs_have_the_same_names_wherever_a_study_with_relative_paths_lies(tmp_path, monkeypatch):
    text = "corpus: {notes: notes, mail: ~/mail}\nbudget: {steps: 4}\nbaseline: {}\narms: {}\n"
    keys = set()
    for place in ("here", "there"):
        folder = tmp_path / place
        (folder / "notes").mkdir(parents=True)
        (folder / "study.yaml").write_text(text)
        monkeypatch.chdir(folder)
        monkeypatch.setenv("HOME", str(folder))
        keys.add(load_study("study.yaml").resolved["baseline"].key(0, Variant()))
    assert len(keys) == 1


def test_what_an_interrupted_study_has_begun_is_needed(out):
    folder = out / "studies" / "stopped"
    folder.mkdir(parents=True)
    (folder / "stage.json").write_text(json.dumps({"runs": [{"run": "idle-1", "label": "baseline", "seed": 0}]}))
    for finished, needed in ((False, ["stopped: baseline"]), (True, [])):
        (folder / "result.json").write_text(json.dumps({"finished": finished, "study": {"name": "stopped"}, "runs": []}))
        assert next(run for run in stored_runs(out) if run.folder.name == "idle-1").needed_by == needed
