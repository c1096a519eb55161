"""Files whole or not at all, locks, and folders that appear when they are complete."""

import errno
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from windtunnel.core import files
from windtunnel.core.errors import DiskError, UserError


def test_an_exception_leaves_what_was_there(tmp_path):
    path = tmp_path / "deep" / "file"
    files.write_text(path, "old")
    with pytest.raises(ZeroDivisionError), files.whole(path) as file:
        file.write("new")
        file.flush()
        raise ZeroDivisionError
    assert path.read_text() == "old" and [entry.name for entry in path.parent.iterdir()] == ["file"]
    files.write_bytes(path, b"new")
    assert path.read_bytes() == b"new"
    files.write_json(path, {"a": [1]})
    assert json.loads(path.read_text()) == {"a": [1]}
    with pytest.raises(TypeError):
        files.write_json(path, {"a": object()})
    assert json.loads(path.read_text()) == {"a": [1]} and [entry.name for entry in path.parent.iterdir()] == ["file"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_what_the_disk_refuses_names_the_file_and_the_reason(tmp_path, monkeypatch, number):
    def refuse(handle):
        raise OSError(number, os.strerror(number))

    files.write_text(tmp_path / "file", "old")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", refuse)
        with pytest.raises(DiskError, match=f"cannot write {tmp_path}/file: {os.strerror(number)}") as told:
            files.write_text(tmp_path / "file", "new")
    assert told.value.number == number
    assert (tmp_path / "file").read_text() == "old" and len(list(tmp_path.iterdir())) == 1
    with pytest.raises(DiskError, match=f"cannot write {tmp_path}/file/below"):
        files.write_text(tmp_path / "file" / "below", "text")


def test_what_is_decided_once_is_whole_or_not_there(tmp_path, monkeypatch):
    path = tmp_path / "plan.json"

    def no_links(*_, **__):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)  # as on exFAT or some network folders
    assert files.decided_once(path, lambda: {"a": 1}) == {"a": 1}
    assert files.decided_once(path, lambda: {"a": 2}) == {"a": 1}
    assert [entry.name for entry in tmp_path.iterdir()] == ["plan.json"]
    with pytest.raises(ZeroDivisionError):
        files.decided_once(tmp_path / "other.json", lambda: {"a": 1 / 0})
    assert [entry.name for entry in tmp_path.iterdir()] == ["plan.json"]
    path.write_text("")  # what a power cut can leave
    with pytest.raises(UserError, match=r"plan\.json is damaged"):
        files.decided_once(path, lambda: {"a": 3})


def test_first_to_decide_wins(tmp_path):
    path = tmp_path / "plan.json"
    inner = []

    def late():
        inner.append(files.decided_once(path, lambda: {"who": "first"}))
        return {"who": "second"}

    assert files.decided_once(path, late) == {"who": "first"} == inner[0]


HOLD = """
import sys
from pathlib import Path
from windtunnel.core.files import locked, temporary_folder
with locked(Path(sys.argv[1]) / ".lock") as mine, temporary_folder(Path(sys.argv[1]), "made-") as made:
    print(mine, made.name, flush=True)
    sys.stdin.read()
"""


def test_a_lock_and_a_temporary_folder_end_with_their_process(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    mine, name = process.stdout.readline().split()
    assert mine == "True"
    with files.locked(tmp_path / ".lock") as held:
        assert not held
    assert files.holder(tmp_path / ".lock") == str(process.pid)
    files.remove_abandoned(tmp_path, "made-")
    assert (tmp_path / name).is_dir()
    told = []
    waiter = threading.Thread(target=lambda: wait_for(tmp_path / ".lock", told))
    waiter.start()
    process.kill()
    process.wait()
    waiter.join(60)
    assert told[-1] is True
    files.remove_abandoned(tmp_path, "made-")
    assert not (tmp_path / name).exists()


def wait_for(path: Path, told: list) -> None:
    with files.awaited(path, lambda: told.append("waits")) as held:
        told.append(held)


def test_the_first_to_publish_a_folder_wins(tmp_path):
    for content in ("first", "second"):
        with files.temporary_folder(tmp_path, "made-") as made:
            (made / "inner").mkdir()
            files.write_text(made / "inner" / "file", content)
            assert files.publish(made, tmp_path / "target") is (content == "first")
    assert [entry.name for entry in tmp_path.iterdir()] == ["target"]
    assert [path.name for path in (tmp_path / "target").rglob("*")] == ["inner", "file"]
    assert (tmp_path / "target" / "inner" / "file").read_text() == "first"
