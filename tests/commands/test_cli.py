"""The command line: what it prints where, its exit codes, and that a user's mistake is one message without a traceback."""

import errno
import json
import os
import random
import re
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest
import warm

from windtunnel.commands import main as cli
from windtunnel.commands import studies
from windtunnel.commands.console import stop_with
from windtunnel.core.errors import PartError, UserError
from windtunnel.core.registry import load_all, names, slots
from windtunnel.core.typed import Failure

TINY = """\
  model: {family: llama, depth: 2, width: 64}
  context: 32
  batch: 4
  tokenizer: {vocabulary: 512}
  split: {validation: 0.1, test: 0.1}
  precision: float32
  compile: no
  evaluations: bits-per-byte
"""
STUDY = f"""\
corpus: {{notes: notes}}
budget: {{steps: 4}}
seeds: 2
curve: [1.0]
baseline:
{TINY}
arms:
  flat: {{schedule: constant}}
"""
RECIPE = "corpus: {notes: notes}\nbudget: {steps: 4}\n" + textwrap.dedent(TINY)
WORDS = "small wings fly over quiet water and every page turns slowly under the old stone bridge near our house tonight while"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with notes, a study and a recipe; it is also the home folder."""
    text(tmp_path / "notes", 1)
    (tmp_path / "study.yaml").write_text(STUDY, encoding="utf-8")
    (tmp_path / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path


def text(folder: Path, start: int) -> None:
    folder.mkdir()
    for number in range(start, start + 60):
        words = random.Random(number).choices(WORDS.split(), k=150)
        (folder / f"{number}.txt").write_text(f"{number} " + " ".join(words), encoding="utf-8")


def run(*arguments: str) -> int:
    """The exit code of a command, in this process."""
    with pytest.raises(SystemExit) as end:
        cli.main(arguments)
    return int(end.value.code or 0)


def mistake(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The message of a command that the user got wrong."""
    code = run(*arguments)
    seen = capsys.readouterr()
    assert code == 2, seen
    assert "Traceback" not in seen.err and seen.err.strip()
    assert not seen.out
    return seen.err


# Without flying -------------------------------------------------------------------------------------------------------------------


def test_version_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--version") == 0
    assert capsys.readouterr().out.startswith("windtunnel ")
    assert run("--help") == 0
    shown = capsys.readouterr().out
    for command in ("study", "train", "export", "parts", "papers", "reproduce", "report", "check"):
        assert command in shown
        assert run(command, "--help") == 0


def test_a_wrong_command_or_option_is_a_users_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    assert "fligh" in mistake(capsys, "fligh")
    assert "--sed" in mistake(capsys, "train", "recipe.yaml", "--sed", "1", "--out", "x")
    assert "greater than or equal to 1" in mistake(capsys, "study", "study.yaml", "--workers", "0")
    assert "spark" in mistake(capsys, "study", "study.yaml", "--engine", "spark")


def test_parts_as_json_is_every_part_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("parts", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    load_all()
    assert {(part["slot"], part["name"]) for part in found} == {(slot, name) for slot, kind in slots().items() for name in names(kind)}
    assert all({"documentation", "knobs", "conflicts", "module"} <= part.keys() for part in found)


def test_parts_by_name_and_slot(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("parts", "--slot", "Schedule", "--json") == 0
    assert {part["slot"] for part in json.loads(capsys.readouterr().out)} == {"Schedule"}
    assert run("parts", "stack") == 0
    shown = capsys.readouterr().out
    assert "factor" in shown and "2405.15319" in shown
    assert run("parts", "stack", "--json") == 0
    assert json.loads(capsys.readouterr().out)[0]["knobs"]["factor"]["default"] == 4
    assert run("parts") == 0
    assert "cosine" in capsys.readouterr().out
    assert "did you mean 'stack'?" in mistake(capsys, "parts", "stak")
    assert "did you mean 'Schedule'?" in mistake(capsys, "parts", "--slot", "Schedul")


def test_check_tells_the_cost_of_a_study(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("check", "study.yaml", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["runs"] == 4 and found["flops"] > 0 and found["seconds"] > 0
    assert set(found["arms"]) == {"baseline", "flat"}
    assert run("check", "study.yaml") == 0
    assert "4 runs" in capsys.readouterr().out
    assert not (here / "windtunnel-out").exists(), "check flies nothing and writes nothing"


def test_check_tells_the_cost_of_a_recipe(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("check", "recipe.yaml", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["steps"] == 4 and found["tokens"] == 4 * 4 * 32 and found["parameters"] > 0
    assert found["cpu_seconds"] > 0 and found["memory_bytes"] > 0 and all(one["documents"] for one in found["sources"].values())


def test_check_names_file_line_and_spelling(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "study.yaml").write_text(STUDY.replace("batch", "bach"), encoding="utf-8")
    assert "study.yaml:8: baseline.bach: unknown key 'bach'; did you mean 'batch'?" in mistake(capsys, "check", "study.yaml")
    (here / "study.yaml").write_text(STUDY.replace("schedule: constant", "shedule: constant"), encoding="utf-8")
    assert "study.yaml:16: arms.flat.shedule: unknown key 'shedule'; did you mean 'schedule'?" in mistake(capsys, "check", "study.yaml")
    (here / "study.yaml").write_text(STUDY.replace("schedule: constant", "schedule: konstant"), encoding="utf-8")
    assert "study.yaml:16: arms.flat.schedule: no Schedule is called 'konstant'" in mistake(capsys, "check", "study.yaml")
    (here / "study.yaml").write_text(STUDY.replace("seeds:", "sedes:"), encoding="utf-8")
    assert "study.yaml:3: sedes: unknown key 'sedes'; did you mean 'seeds'?" in mistake(capsys, "check", "study.yaml")
    assert "nowhere.yaml: no such file; did you mean" in mistake(capsys, "check", "nowhere.yaml")


def test_a_mistake_of_the_baseline_is_shown_once_where_it_stands(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "study.yaml").write_text(STUDY.replace("depth: 2", "depth: 0"), encoding="utf-8")
    message = mistake(capsys, "check", "study.yaml")
    assert "study.yaml:6: baseline.model.depth: " in message and message.count("\n") == 1


@pytest.mark.parametrize("given", ["notes", "=notes", "notes=", " = "])
def test_a_corpus_is_written_as_name_and_path(here: Path, capsys: pytest.CaptureFixture[str], given: str) -> None:
    assert "write it as NAME=PATH" in mistake(capsys, "check", "study.yaml", "--corpus", given)


def test_a_corpus_that_is_not_there_is_found_before_flying(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "source letters: ltters: no such file" in mistake(capsys, "check", "study.yaml", "--corpus", "letters=ltters")
    (here / "empty").mkdir()
    assert "empty" in mistake(capsys, "check", "recipe.yaml", "--corpus", "notes=empty")
    assert "--corpus code=builtin:stdlibb: 'stdlibb' is not one of the choices; did you mean 'stdlib'?" in mistake(
        capsys, "check", "study.yaml", "--corpus", "code=builtin:stdlibb"
    )


def test_two_sources_of_one_name(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "'a' was given already" in mistake(capsys, "check", "study.yaml", "--corpus", "a=notes", "--corpus", "a=notes")


def test_sources_of_the_command_line_replace_those_of_a_study(here: Path) -> None:
    study = studies.read_study(here / "study.yaml", ["letters=~/notes", "code=builtin:stdlib"])
    corpus = study.resolved["baseline"].corpus
    assert list(corpus) == ["letters", "code"]
    assert corpus["letters"].path == str(here / "notes")
    assert study.resolved["flat"].corpus == corpus
    assert list(studies.read_study(here / "study.yaml", None).resolved["baseline"].corpus) == ["notes"]


def test_an_address_needs_the_ray_engine(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "--engine ray" in mistake(capsys, "study", "study.yaml", "--address", "host:6379")
    assert "--engine ray" in mistake(capsys, "reproduce", "g-stack", "--address", "host:6379")


def test_a_run_on_ray_is_not_stopped_by_its_forecast(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = mistake(capsys, "train", "study.yaml", "--out", "run", "--engine", "ray", "--forecast", "forecast.json", "--stop-above")
    assert "--stop-above" in said and "leave it out" in said


def test_a_folder_is_no_study(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("study", "check"):
        assert "notes: is a folder" in mistake(capsys, command, "notes")
    assert "windtunnel new notes" in mistake(capsys, "check", "notes")
    assert "so it is not a pack" in mistake(capsys, "study", "notes", "--minutes", "5")


def test_a_report_needs_a_result(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "nowhere: no such file or folder" in mistake(capsys, "report", "nowhere")
    assert "notes: holds no result.json" in mistake(capsys, "report", "notes")
    (here / "notes" / "result.json").write_text("{", encoding="utf-8")
    assert "result.json: not a result" in mistake(capsys, "report", "notes")
    (here / "notes" / "result.json").write_text('{"format": 99}', encoding="utf-8")
    assert "has format 99" in mistake(capsys, "report", "notes")
    (here / "notes" / "result.json").write_text('{"format": 1}', encoding="utf-8")
    assert "not the result of a study" in mistake(capsys, "report", "notes/result.json")


def test_an_unknown_device_or_paper(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "--device tpuu" in mistake(capsys, "train", "recipe.yaml", "--out", "x", "--device", "tpuu")
    assert "checked on cpu and cuda alone" in mistake(capsys, "train", "recipe.yaml", "--out", "x", "--device", "mps")
    assert "no paper" in mistake(capsys, "reproduce", "g-stak")
    assert "nowhere.yaml" in mistake(capsys, "reproduce", "nowhere.yaml")


def test_only_a_finished_run_is_exported(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "nowhere: no such folder" in mistake(capsys, "export", "nowhere", "out")
    assert "holds no record.json" in mistake(capsys, "export", "notes", "out")
    (here / "half").mkdir()
    (here / "half" / "record.json").write_text('{"key": "k", "seed": 0, "status": "interrupted"}', encoding="utf-8")
    assert "is interrupted, not finished" in mistake(capsys, "export", "half", "out")
    (here / "half" / "record.json").write_text('{"key": "k", "seed": 0, "status": "finished", "totals": {}}', encoding="utf-8")
    assert "notes exists and is not an empty folder" in mistake(capsys, "export", "half", "notes")
    assert "notes exists and is not an empty folder" in mistake(capsys, "export", "half", "--out", "notes")
    assert "say once where it goes" in mistake(capsys, "export", "half")
    assert "say once where it goes" in mistake(capsys, "export", "half", "new", "--out", "new")


# How it ends -------------------------------------------------------------------------------------------------------------------------


def broken(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def raise_it(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr("windtunnel.study.fly.fly_study", raise_it)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), pytest.param("Interrupted", id="Interrupted")])
def test_an_interrupt_says_how_to_go_on(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: BaseException | str
) -> None:
    from windtunnel.study.launch.local import Interrupted

    broken(monkeypatch, Interrupted("2 of 6 runs finished") if isinstance(error, str) else error)
    assert run("study", "study.yaml") == 130
    told = capsys.readouterr().err
    assert "give the same command again" in told and "so far" not in told
    (here / "windtunnel-out" / "studies" / "study").mkdir(parents=True)
    (here / "windtunnel-out" / "studies" / "study" / "result.json").write_text("{}")
    assert run("study", "study.yaml") == 130
    told = capsys.readouterr().err
    assert "what there is so far: windtunnel report windtunnel-out/studies/study\n" in told and told.count("same command") == 1, told


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (errno.ENOSPC, "disk is full"),
        (errno.EROFS, "read-only"),
        (errno.EACCES, "permission denied"),
        (errno.ENOTDIR, "a file stands"),
    ],
)
def test_a_disk_that_cannot_be_written_is_named(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: int, says: str
) -> None:
    broken(monkeypatch, OSError(number, os.strerror(number), "/some/where/shard-0"))
    message = mistake(capsys, "study", "study.yaml")
    assert "/some/where/shard-0" in message and says in message


def test_an_error_of_ours_keeps_its_traceback(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for error in (OSError(errno.EIO, "Input/output error"), RuntimeError("a bug"), PartError("nothing matched")):
        broken(monkeypatch, error)
        with pytest.raises(SystemExit if isinstance(error, UserError) else type(error)):
            cli.main(["study", "study.yaml"])


def test_how_failed_runs_end_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    from typer import Exit

    for kind, message in {"user": "the budget is too small", "disk": "No space left on device: 'x': the disk is full"}.items():
        with pytest.raises(UserError, match=re.escape(message)):
            stop_with(Failure(kind=kind, message=message, traceback=""))
    with pytest.raises(Exit) as end:
        stop_with(Failure(kind="fault", message="a bug", traceback="Traceback (most recent call last): here"))
    assert end.value.exit_code == 1 and "here" in capsys.readouterr().err


def test_a_reader_that_stops_reading_is_no_error(here: Path) -> None:
    done = subprocess.run(
        f"{sys.executable} -m windtunnel.commands.main parts --json | head -c 20", shell=True, capture_output=True, text=True, timeout=120
    )
    assert "Traceback" not in done.stderr


# Flying ------------------------------------------------------------------------------------------------------------------------------


def test_a_study_from_file_to_report(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (here / "study.yaml").write_text(STUDY.replace("test: 0.1", "test: 0.25"), encoding="utf-8")  # documents enough for an interval
    assert run("study", "study.yaml", "--out", "out", "--json") == 0
    seen = capfd.readouterr()
    result = json.loads(seen.out)  # nothing but JSON on standard output
    assert result["finished"] and result["error"] is None
    assert result["arms"]["flat"]["verdict"] in {"helps", "hurts", "no difference", "undecided"}
    assert result["arms"]["flat"]["over_documents"]["documents"] >= 8, "what runs say of documents reaches the result"
    assert len(result["runs"]) == 4 and {entry["status"] for entry in result["runs"]} == {"finished"}
    assert str(here) not in seen.err.replace(str(here / "out"), "")
    folder = here / "out" / "studies" / "study"
    assert json.loads((folder / "result.json").read_text()) == result
    assert (folder / "report.html").is_file() and (folder / "report.md").is_file()

    before = {path: path.stat().st_mtime_ns for path in (here / "out" / "runs").rglob("record.json")}
    assert run("study", "study.yaml", "--out", "out") == 0
    shown = capfd.readouterr().out
    assert "flat" in shown and "report.html" in shown
    assert {path: path.stat().st_mtime_ns for path in before} == before, "finished runs are not flown again"

    (folder / "report.html").unlink()
    assert run("report", str(folder)) == 0
    assert (folder / "report.html").read_text().lstrip().lower().startswith("<!doctype html")
    assert run("report", "out") == 0
    assert run("report", str(folder / "result.json"), "--out", "elsewhere", "--picture", "drawn/study.png") == 0
    assert (here / "elsewhere" / "report.html").exists() and (here / "drawn" / "study.png").read_bytes()[:4] == b"\x89PNG"


def test_train_and_export(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    assert run("train", "recipe.yaml", "--seed", "3", "--out", "runs/x", "--threads", "1", "--logger", "tensorboard", "--json") == 0
    record = json.loads(capfd.readouterr().out)
    assert record["status"] == "finished" and record["seed"] == 3 and record["totals"]["steps"] == 4
    assert list((here / "runs/x").rglob("events.out.tfevents*"))
    stamp = (here / "runs/x/record.json").stat().st_mtime_ns
    assert run("train", "recipe.yaml", "--seed", "3", "--out", "runs/x") == 0
    assert "finished, on test bits_per_byte" in capfd.readouterr().out
    assert (here / "runs/x/record.json").stat().st_mtime_ns == stamp
    assert "another recipe, seed or text" in mistake_of_run(capfd, "train", "recipe.yaml", "--seed", "4", "--out", "runs/x")

    assert run("export", "runs/x", "exported") == 0
    said = capfd.readouterr()
    assert "LlamaForCausalLM" in said.out and "it/s" not in said.err
    model = AutoModelForCausalLM.from_pretrained("exported")
    tokens = AutoTokenizer.from_pretrained("exported")("small wings fly", return_tensors="pt").input_ids
    trained = AutoModelForCausalLM.from_pretrained("runs/x/model")
    assert torch.equal(model(tokens).logits, trained(tokens).logits)
    assert "windtunnel" in (here / "exported/README.md").read_text().lower()
    assert json.loads((here / "exported/record.json").read_text())["key"] == record["key"]


def mistake_of_run(capfd: pytest.CaptureFixture[str], *arguments: str) -> str:
    """As :func:`mistake`, for commands that may have said something before."""
    assert run(*arguments) == 2
    seen = capfd.readouterr()
    assert "Traceback" not in seen.err
    return seen.err


def test_a_budget_too_small_for_a_step_is_a_users_mistake(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (here / "recipe.yaml").write_text(RECIPE.replace("{steps: 4}", "{flops: 10}"), encoding="utf-8")
    assert "budget" in mistake_of_run(capfd, "train", "recipe.yaml", "--out", "runs/x")
    (here / "study.yaml").write_text(STUDY.replace("{steps: 4}", "{flops: 10}"), encoding="utf-8")
    assert "budget" in mistake_of_run(capfd, "study", "study.yaml", "--out", "out", "--workers", "1")


def test_a_run_is_flown_by_one_process(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from windtunnel.core.files import locked

    with locked(here / "runs/x/.lock"):
        assert "another process is working on it" in mistake_of_run(capfd, "train", "recipe.yaml", "--out", "runs/x")


def test_ctrl_c_puts_a_run_down_and_the_same_command_goes_on(here: Path) -> None:
    (here / "recipe.yaml").write_text(RECIPE.replace("{steps: 4}", "{steps: 60}"), encoding="utf-8")
    command = ("train", "recipe.yaml", "--out", "runs/x", "--threads", "1")
    process = warm.begin(*command)
    log = here / "runs/x/log.jsonl"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None and not (log.exists() and log.stat().st_size):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, shown = process.communicate(timeout=120)
    assert process.returncode == 130, shown
    assert "give the same command again" in shown and "Traceback" not in shown
    assert json.loads((here / "runs/x/record.json").read_text())["status"] == "interrupted"
    done = warm.run(*command)
    assert done.returncode == 0, done.stderr
    assert json.loads((here / "runs/x/record.json").read_text())["totals"]["steps"] == 60
