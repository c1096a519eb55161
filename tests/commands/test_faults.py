"""Bad luck through the command line: bad text, bad settings, full and read-only disks, flipped bytes, kills, two processes at once.

Every mishap is exactly one clear message, exit code 2 where the user can mend it, and finished work stays.
"""

from __future__ import annotations

import gzip
import json
import os
import random
import shutil
import signal
import subprocess
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow
import pytest
import warm
import zstandard
from pyarrow import parquet

from windtunnel.commands import main as cli
from windtunnel.commands.options import sources
from windtunnel.core.errors import UserError
from windtunnel.core.files import OURS
from windtunnel.study.file import load_study

FIELDS = """\
model: {depth: 2, width: 32, heads: 2}
context: 32
batch: 4
tokenizer: {vocabulary: 450, sentinels: 16}
split: {validation: 0.1, test: 0.1}
precision: float32
compile: no
test_tokens: 512
"""
RECIPE = "corpus: {notes: notes}\nbudget: {steps: 4}\n" + FIELDS
STUDY = (
    "corpus: {notes: notes}\nbudget: {steps: 4}\nseeds: 2\ncurve: [1.0]\nbaseline:\n"
    + textwrap.indent(FIELDS, "  ")
    + "arms:\n  flat: {schedule: constant}\n"
)
WORDS = "small wings fly over quiet water and every page turns slowly under the old stone bridge near our house tonight while"


def prose(number: int, words: int = 120) -> str:
    return f"{number} " + " ".join(random.Random(number).choices(WORDS.split(), k=words))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with 60 notes, a study and a recipe."""
    (tmp_path / "notes").mkdir()
    for number in range(60):
        (tmp_path / "notes" / f"{number}.txt").write_text(prose(number), encoding="utf-8")
    (tmp_path / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    (tmp_path / "study.yaml").write_text(STUDY, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path


Command = Callable[..., tuple[int, str]]


@pytest.fixture
def command(capfd: pytest.CaptureFixture[str]) -> Command:
    """A function that runs a command in this process: its exit code and what it said on standard error, without a traceback."""

    def call(*arguments: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as end:
            cli.main(arguments)
        said = capfd.readouterr().err
        assert "Traceback" not in said, said
        return int(end.value.code or 0), said

    return call


@pytest.fixture
def mistake(command: Command) -> Callable[..., str]:
    """A function that runs a command that must end with exit code 2, and returns its one message."""

    def call(*arguments: str) -> str:
        code, said = command(*arguments)
        assert code == 2, said
        messages = [line for line in said.splitlines() if line.startswith("windtunnel: ")]
        assert len(messages) == 1 and said.rstrip().endswith(messages[0]), said
        return messages[0]

    return call


@pytest.fixture
def mounted(here: Path) -> Iterator[Callable[[str], Path]]:
    """A function that makes ``disk``, a file system of its own of the size (in kB) it is told, or changes that size."""
    place = here / "disk"
    place.mkdir()

    def mount(options: str) -> Path:
        again = os.path.ismount(place)
        words = ["mount", "-o", f"remount,{options}", place] if again else ["mount", "-t", "tmpfs", "-o", options, "none", place]
        try:
            done = subprocess.run(words, capture_output=True, text=True)
        except FileNotFoundError:
            pytest.skip("no mount command here")
        if done.returncode:
            pytest.skip(f"file systems cannot be mounted here: {done.stderr.strip()}")
        return place

    yield mount
    if os.path.ismount(place):
        # Lazily: a server process of multiprocessing may have been started while this was the working folder, and it stays there.
        subprocess.run(["umount", "--lazy", place], check=True)


def rewrite(path: str, old: str, new: str) -> None:
    """Replace a piece of one of the two files."""
    text = {"recipe.yaml": RECIPE, "study.yaml": STUDY}[path]
    assert old in text
    Path(path).write_text(text.replace(old, new), encoding="utf-8")


def flip(path: Path, place: float = 0.5) -> None:
    """Change one byte."""
    data = bytearray(path.read_bytes())
    data[int(len(data) * place)] ^= 0xFF
    path.write_bytes(data)


def states(out: str) -> dict[str, str]:
    """The status of each run below ``out`` that has a record."""
    found = (json.loads(path.read_text()) for path in Path(out).glob("runs/*/record.json"))
    return {record["key"]: record["status"] for record in found}


def stamps(out: str) -> dict[Path, int]:
    """When the records of finished runs were written."""
    records = Path(out).glob("runs/*/record.json")
    return {path: path.stat().st_mtime_ns for path in records if json.loads(path.read_text())["status"] == "finished"}


# Text ---------------------------------------------------------------------------------------------------------------------------


def bad_text(folder: Path) -> dict[str, tuple[Path, str]]:
    """Every kind of corpus that cannot be used, and what must be said of it."""
    lines = "".join(json.dumps({"text": prose(number)}) + "\n" for number in range(60)).encode()
    parquet.write_table(
        pyarrow.table({"text": [prose(number) for number in range(60)]}), folder / "whole.parquet", write_page_checksum=True
    )
    whole = (folder / "whole.parquet").read_bytes()
    files = {
        "cut.jsonl.gz": (gzip.compress(lines)[:-50], "cut short"),
        "cut.jsonl.zst": (zstandard.compress(lines)[:-50], "cut short"),
        "cut.parquet": (whole[: len(whole) // 2], "damaged or cut short"),
        "flipped.parquet": (whole[:1000] + bytes([whole[1000] ^ 0xFF]) + whole[1001:], "damaged or cut short"),
        "invalid.txt": ("schöne Grüße ".encode() * 100 + b"\xff ", "0xff at byte 1600; save it as UTF-8"),
        "fields.jsonl": (b'{"txet": "x"}\n', "1 document was read"),
        "one.txt": (prose(1).encode(), "1 document was read; none fell into validation or test"),
    }
    found = {}
    for name, (content, says) in files.items():
        (folder / name).write_bytes(content)
        found[name] = (folder / name, says)
    for name, contents, says in (
        ("empty", [], "it is empty"),
        ("binary", [bytes(range(256))] * 3, "binary file: 3 (e.g. 0.txt"),
        ("copies", [prose(1).encode()] * 20, "19 of them exact duplicates"),
        ("five", [prose(number).encode() for number in range(3)], "fell into"),
    ):
        (folder / name).mkdir()
        for number, content in enumerate(contents):
            (folder / name / f"{number}.txt").write_bytes(content)
        found[name] = (folder / name, says)
    return found


def test_text_that_cannot_be_used_is_one_message_and_leaves_no_run(here: Path, mistake: Callable[..., str]) -> None:
    for name, (path, says) in bad_text(here).items():
        message = mistake("train", "recipe.yaml", "--corpus", f"notes={path}", "--out", f"runs/{name}")
        assert "corpus source 'notes'" in message and says in message
        assert says.startswith(("1 doc", "19", "fell")) or path.name in message
        assert {entry.name for entry in Path("runs", name).iterdir()} == {".lock", OURS}
        assert not [entry for entry in Path("windtunnel-out/cache").rglob("*") if entry.is_file() and entry.name != OURS]
    message = mistake("study", "study.yaml", "--corpus", f"notes={here / 'cut.parquet'}")
    assert "cut.parquet: the .parquet file is damaged or cut short" in message


def test_one_long_document_among_short_ones(here: Path, command: Command) -> None:
    with open("notes/long.txt", "w", encoding="utf-8") as file:
        file.writelines(prose(number, 1000) + "\n" for number in range(600))
    assert Path("notes/long.txt").stat().st_size > 3_000_000
    code, said = command("train", "recipe.yaml", "--out", "runs/x")
    assert code == 0, said


# Settings -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "line", "says"),
    [
        ("depth: 2,", "depth: 0,", 3, "model.depth: expected a number of at least 1, not 0"),
        ("depth: 2,", "depth: 2, family: lama,", 3, "model.family: no Family is called 'lama'; did you mean 'llama'?"),
        ("heads: 2", "heads: 7", 3, "model: 7 heads do not divide width 32; these do: 1, 2, 4"),
        ("batch: 4", "batch: -4", 5, "batch: expected a number of at least 1, not -4"),
        ("batch: 4", "mixture: {fixed: {shares: {notes: 0}}}", 5, "mixture.shares: no source has a share above 0"),
        ("batch: 4", "mixture: {fixed: {shares: {notes: -1}}}", 5, "mixture.shares: the share of source 'notes' is -1"),
        ("batch: 4", "mixture: {fixed: {shares: {nots: 1}}}", 5, "no source is called 'nots'; did you mean 'notes'?"),
        ("batch: 4", "sources: nots", 5, "sources: a phase trains on source 'nots', which the corpus does not have; did you mean 'notes'?"),
        ("batch: 4", "phases: [{share: 0.5}]", 5, "phases: the shares of the phases add up to 0.5"),
        ("{notes: notes}", "{notes: builtin:stdlb}", 1, "corpus.notes.text: 'stdlb' is not one of the choices; did you mean 'stdlib'?"),
        ("{steps: 4}", "{flops: 10}", None, "phase 1 may spend 10 flops, which is about"),
        ("{steps: 4}", "{tokens: 127}", None, "phase 1 may spend 127 tokens, which is about 0.99 of one step; raise the budget"),
        ("vocabulary: 450", "folder: nowhere", None, "tokenizer.folder: nowhere: no such folder"),
        ("batch: 4", "start: {checkpoint: nowhere}", 5, "start: checkpoint: nowhere: no such folder"),
    ],
)
def test_check_finds_what_would_not_fly(here: Path, mistake: Callable[..., str], old: str, new: str, line: int | None, says: str) -> None:
    rewrite("recipe.yaml", old, new)
    message = mistake("check", "recipe.yaml")
    assert says in message and (line is None or f"recipe.yaml:{line}: " in message)
    rewrite("study.yaml", old, new)
    message = mistake("check", "study.yaml")
    assert says in message
    if "may spend" in says:
        assert says in mistake("study", "study.yaml", "--out", "flown") and not Path("flown/cache").exists()
    if line is not None:  # a recipe's own fields stand three lines further down in the study
        assert f"study.yaml:{line if line < 3 else line + 3}: " in message


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("seeds=1000000000000000000000000", "seeds: a study has at most 10,000 seeds"),
        ("parts=5", "parts.0: expected the name of a Python file, not 5"),
        ("budget={foo: 3}", "known: effective_flops, flops, seconds, steps, tokens, tokens_per_parameter"),
        ("baseline.evaluations=[]", "baseline.evaluations: expected at least 1 entry, not ()"),
        ("baseline.phases={}", "baseline.phases: expected a list of phases"),
        ("baseline.optimizer=[1]", "baseline.optimizer: an Optimizer is written as its name"),
        ("baseline.clip=0", "baseline.clip: expected a number above 0, not 0"),
        ("baseline.split.test=0.7", "baseline.split.test: expected a number below 0.5, not 0.7"),
        ("baseline.batch=.inf", "baseline.batch: expected a finite number, not inf"),
        ("arms.flat=5", "arms.flat: expected a mapping of what differs from the baseline, not 5"),
        ('arms={" ": {batch: 2}}', "the name of an arm is at least a letter, and on one line"),
        ('corpus={"a\\tb": notes}', "the name of a source is at least a letter, and on one line"),
    ],
)
def test_values_that_no_study_can_have_are_told_in_words(here: Path, setting: str, says: str) -> None:
    with pytest.raises(UserError) as told:
        load_study(Path("study.yaml"), changes=[setting])
    assert says in str(told.value)


def test_a_knob_that_is_missing_is_told_where_its_part_stands(here: Path) -> None:
    rewrite("study.yaml", "{notes: notes}", "{2024: {files: {glob: '*.md'}}}")
    with pytest.raises(UserError, match=r"study.yaml:1: corpus\.2024\.path: must be given"):
        load_study(Path("study.yaml"))


def test_a_file_of_another_kind_says_which_command_it_is_for(here: Path, mistake: Callable[..., str]) -> None:
    assert "windtunnel study study.yaml" in mistake("train", "study.yaml", "--out", "runs/x")
    assert "windtunnel train recipe.yaml" in mistake("study", "recipe.yaml")
    Path("paper.yaml").write_text("scales: {}\n", encoding="utf-8")
    assert "windtunnel reproduce paper.yaml" in mistake("study", "paper.yaml")


# Disks --------------------------------------------------------------------------------------------------------------------------


def test_a_folder_below_a_file_and_a_read_only_disk(
    here: Path, mistake: Callable[..., str], mounted: Callable[[str], Path], command: Command
) -> None:
    Path("file").write_text("x")
    for arguments in (("--out", "file/x"), ("--out", "file"), ("--out", "runs/x", "--cache", "file/cache")):
        assert "file" in mistake("train", "recipe.yaml", *arguments)
    assert "file" in mistake("study", "study.yaml", "--out", "file/x")
    disk = mounted("size=1000k")
    mounted("ro")
    for arguments in (("--out", "disk/x"), ("--out", "runs/x", "--cache", "disk/cache")):
        message = mistake("train", "recipe.yaml", *arguments)
        assert str(disk.name) in message and "read-only" in message.lower() and "choose another folder" in message
    assert "ead-only file system" in mistake("study", "study.yaml", "--out", "disk")
    assert command("check", "study.yaml", "--out", "disk")[0] == 0, "looking needs no writing"


@pytest.mark.parametrize("size", [16, 60, 120, 200])
def test_a_disk_that_fills_anywhere_is_told_and_the_same_command_goes_on(
    here: Path, mistake: Callable[..., str], command: Command, mounted: Callable[[str], Path], size: int
) -> None:
    mounted(f"size={size}k")
    message = mistake("train", "recipe.yaml", "--out", "disk/x", "--cache", "disk/cache")
    assert "disk/" in message and "No space left on device" in message and "give the same command again" in message
    mounted("size=8000k")
    code, said = command("train", "recipe.yaml", "--out", "disk/x", "--cache", "disk/cache")
    assert code == 0, said


def test_a_checkpoint_that_the_disk_refuses_says_why(here: Path, tmp_path: Path, mounted: Callable[[str], Path]) -> None:
    import torch

    from windtunnel.core.errors import UserError
    from windtunnel.train import checkpoint

    disk = mounted("size=400k")
    writer = checkpoint.Writer(disk)
    weights = torch.zeros(20_000)
    writer.begin("step-1", {"weights": weights})
    weights += 1  # training goes on while the disk takes it
    with pytest.raises(UserError, match=r"cannot write checkpoint .*step-2: No space left on device"):
        writer.begin("step-2", {"weights": torch.zeros(200_000)})
    found = checkpoint.newest(disk, print)
    assert found is not None and torch.equal(found["weights"], torch.zeros(20_000))
    assert [path.name for path in disk.iterdir()] == ["step-1"]


def test_what_the_disk_says_afterwards_is_told_at_the_next_occasion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from windtunnel.core.errors import UserError
    from windtunnel.train import checkpoint

    def full(path: Path) -> None:
        raise OSError(28, "No space left on device")

    writer = checkpoint.Writer(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "sync", full)
        writer.begin("step-1", {})
        with pytest.raises(UserError, match="step-1: No space left on device"):
            writer.wait()
    writer.wait()
    for number in range(4):
        writer.begin(f"step-{number}", {"number": number})
    writer.wait()
    assert not writer.busy
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-2", "step-3"]


def test_a_limit_on_the_size_of_files_is_told(here: Path) -> None:
    limited = "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, resource.RLIM_INFINITY)); "
    limited += "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); from windtunnel.commands.main import main; main(sys.argv[1:])"
    done = warm.run("train", "recipe.yaml", "--out", "runs/x", code=limited)
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
    assert "runs/x/model: cannot write the model" in done.stderr and "File too large" in done.stderr


def test_a_disk_that_fills_in_the_middle_of_a_study(
    here: Path, mistake: Callable[..., str], command: Command, mounted: Callable[[str], Path]
) -> None:
    mounted("size=500k")
    words = ("study", "study.yaml", "--out", "disk/out", "--workers", "1", "--threads", "1")
    message = mistake(*words)
    assert "disk/out/" in message and "No space left on device" in message and "give the same command again" in message
    before = stamps("disk/out")
    assert 1 <= len(before) < 4, "some runs fit and some did not"
    mounted("size=8000k")
    code, said = command(*words)
    assert code == 0, said
    after = stamps("disk/out")
    assert len(after) == 4
    assert {path: after[path] for path in before} == before, "finished runs are not flown again"


# Damage -------------------------------------------------------------------------------------------------------------------------


def test_a_flipped_byte_is_found_by_name(here: Path, mistake: Callable[..., str], command: Command) -> None:
    words = ("train", "recipe.yaml", "--cache", "cache")
    assert command(*words, "--out", "runs/whole")[0] == 0
    streams = next(path.parent for path in Path("cache/streams").glob("*/manifest.json"))
    shutil.copytree("cache", "kept")
    for file in ("train/000-notes.tokens", "train/000-notes.index", "test/000-notes.tokens", "manifest.json", "facts/token_bytes"):
        flip(streams / file)
        message = mistake(*words, "--out", "runs/flipped")
        assert str(streams / file) in message and str(streams) in message.split(file)[1], "names the file and what to remove"
        shutil.copytree("kept", "cache", dirs_exist_ok=True)
    shutil.rmtree("cache/streams")
    parquets = sorted(Path("cache/corpora").glob("*/train/*.parquet"))
    flip(parquets[0], 0.3)
    assert str(parquets[0]) in mistake(*words, "--out", "runs/flipped")
    shutil.rmtree("cache")
    shutil.move("kept", "cache")
    assert command(*words, "--out", "runs/flipped")[0] == 0, "what failed before flies when the damage is mended"

    flip(Path("runs/whole/model/model.safetensors"), 0.9)
    assert Path("runs/whole/record.json").exists()
    Path("runs/flipped/record.json").write_text('{"half')
    assert "runs/flipped/record.json is damaged" in mistake(*words, "--out", "runs/flipped")


def test_a_flipped_byte_in_a_checkpoint_is_named_and_the_run_goes_on(here: Path, monkeypatch: pytest.MonkeyPatch, command: Command) -> None:
    from windtunnel.train import loop

    rewrite("recipe.yaml", "{steps: 4}", "{steps: 12}")
    assert command("train", "recipe.yaml", "--out", "runs/whole")[0] == 0
    write = loop.checkpoint.Writer.begin

    def killed(writer: Any, name: str, state: dict[str, Any]) -> None:
        write(writer, name, state)
        writer.wait()
        if name.endswith("9"):
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(loop.checkpoint.Writer, "begin", killed)
        patch.setattr(loop.checkpoint.Writer, "due", True)  # one after every step
        assert command("train", "recipe.yaml", "--out", "runs/x")[0] == 130
    newest = sorted(Path("runs/x/checkpoints").iterdir())[-1] / "state.pt"
    flip(newest)
    code, said = command("train", "recipe.yaml", "--out", "runs/x")
    assert code == 0 and f"checkpoint {newest.parent} is damaged and skipped: {newest} does not match its checksum" in said
    records = [json.loads(Path(f"runs/{name}/record.json").read_text()) for name in ("whole", "x")]
    assert records[0]["test"] == records[1]["test"], "the checkpoint before was used"


# Kills and neighbours ---------------------------------------------------------------------------------------------------------------


def wait_for(what: Callable[[], Any], process: warm.Command, seconds: float = 120) -> Any:
    """What ``what`` returns as soon as that is something."""
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.01)
    return found


def workers_of(parent: int) -> list[int]:
    """The worker processes that ``parent`` started."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if (entry / "comm").read_text().strip() == warm.mark(parent):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def under_way(out: str) -> list[Path]:
    """The runs that have begun to train and have no record yet."""
    logs = (path for path in Path(out).glob("runs/*/log.jsonl") if path.stat().st_size)
    return [path.parent for path in logs if not (path.parent / "record.json").exists()]


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds processes in /proc")
def test_a_study_goes_on_after_its_parent_or_a_worker_was_killed(here: Path, command: Command) -> None:
    rewrite("study.yaml", "{steps: 4}", "{steps: 150}")
    words = ("study", "study.yaml", "--out", "out", "--workers", "1", "--threads", "1")
    parent = warm.begin(*words)
    wait_for(lambda: stamps("out") and under_way("out"), parent)
    orphans = workers_of(parent.pid)
    parent.kill()
    parent.communicate()
    before = stamps("out")
    deadline = time.monotonic() + 60
    while any(Path(f"/proc/{pid}").exists() for pid in orphans):
        assert time.monotonic() < deadline, "workers outlive their parent"
        time.sleep(0.05)

    parent = warm.begin(*words)
    finished = len(stamps("out"))
    wait_for(lambda: len(stamps("out")) > finished and under_way("out"), parent)
    os.kill(workers_of(parent.pid)[0], signal.SIGKILL)
    _, said = parent.communicate(timeout=120)
    assert parent.returncode == 0 and "Traceback" not in said, said
    assert said.count("failed: the worker process died: killed by SIGKILL") == 1
    assert sorted(states("out").values()) == ["failed", "finished", "finished", "finished"]

    kept = stamps("out")
    code, said = command(*words)
    assert code == 0, said
    after = stamps("out")
    assert len(after) == 4 and before.items() <= kept.items() <= after.items(), "finished runs are not flown again"


def test_one_study_at_a_time_and_one_process_for_each_run(here: Path, mistake: Callable[..., str]) -> None:
    rewrite("study.yaml", "{steps: 4}", "{steps: 20}")
    Path("other.yaml").write_text(Path("study.yaml").read_text().replace("constant", "linear"), encoding="utf-8")
    one = warm.begin("study", "study.yaml", "--out", "out", "--workers", "1", "--threads", "1")
    other = warm.begin("study", "other.yaml", "--out", "out", "--workers", "1", "--threads", "1")
    wait_for(lambda: Path("out/studies/study/.lock").exists() and Path("out/studies/study/.lock").read_text(), one)
    message = mistake("study", "study.yaml", "--out", "out")
    assert f"study study is being flown in out by process {one.pid}" in message and "wait for it" in message
    ends = [process.communicate(timeout=120) for process in (one, other)]
    assert [one.returncode, other.returncode] == [0, 0], ends
    assert sorted(states("out").values()) == ["finished"] * 6, "the two studies share the runs of the baseline"
    assert len(list(Path("out/cache/streams").glob("*/manifest.json"))) == 1
    for log in Path("out/runs").glob("*/log.jsonl"):
        steps = [json.loads(line)["step"] for line in log.read_text().splitlines()]
        assert steps == sorted(set(steps)), "each run was flown once"


def test_two_processes_cannot_train_in_one_folder(here: Path, mistake: Callable[..., str]) -> None:
    rewrite("recipe.yaml", "{steps: 4}", "{seconds: 600}")
    first = warm.begin("train", "recipe.yaml", "--out", "runs/x", "--threads", "1")
    log = Path("runs/x/log.jsonl")
    wait_for(lambda: log.exists() and log.stat().st_size, first)
    assert "another process is working on it" in mistake("train", "recipe.yaml", "--out", "runs/x")
    first.kill()
    first.communicate()
    rewrite("recipe.yaml", "{steps: 4}", "{steps: 5}")
    assert "unfinished run of another recipe" in mistake("train", "recipe.yaml", "--out", "runs/x")


def test_a_source_with_knobs_stands_on_the_command_line_as_yaml_has_it() -> None:
    assert sources(["mail={files: {path: mail.csv, field: body}}"]) == {"mail": {"files": {"path": "mail.csv", "field": "body"}}}
    with pytest.raises(UserError, match="is not a source in YAML"):
        sources(["mail={files: ["])
    with pytest.raises(UserError, match="did you mean 'files'"):
        sources(["mail={fles: {path: mail.csv}}"])
