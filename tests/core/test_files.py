"""Files whole or not at all, locks, and folders that appear when they are complete."""

import errno
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from windtunnel.core import files, leases
from windtunnel.core.errors import DiskError, UserError
from windtunnel.data.corpus.tally import Tally
from windtunnel.parts.source.files import Files


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
    assert told[-1] == "has it"
    files.remove_abandoned(tmp_path, "made-")
    assert not (tmp_path / name).exists()


def wait_for(path: Path, told: list) -> None:
    with files.awaited(path, lambda: told.append("waits")):
        told.append("has it")


def test_the_first_to_publish_a_folder_wins(tmp_path):
    for content in ("first", "second"):
        with files.temporary_folder(tmp_path, "made-") as made:
            (made / "inner").mkdir()
            files.write_text(made / "inner" / "file", content)
            assert files.publish(made, tmp_path / "target") is (content == "first")
    assert [entry.name for entry in tmp_path.iterdir()] == ["target"]
    assert [path.name for path in (tmp_path / "target").rglob("*")] == ["inner", "file"]
    assert (tmp_path / "target" / "inner" / "file").read_text() == "first"


# Two hosts that share a folder and do not see each other's locks -------------------------------------------------------------------

OTHER_HOST = """
import fcntl, sys
from pathlib import Path
from windtunnel.core import files, leases
leases.HOST = files.HOST = "other"
fcntl.flock = lambda *of: None
folder = Path(sys.argv[1])
with files.locked(folder / ".lock") as mine, files.temporary_folder(folder, "made-") as made:
    print(mine, made.name, flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def other_host(tmp_path, monkeypatch):
    """A process that believes to be another host; neither sees the locks of the other."""
    process = subprocess.Popen([sys.executable, "-c", OTHER_HOST, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    mine, name = process.stdout.readline().split()
    assert mine == "True"
    monkeypatch.setattr(files.fcntl, "flock", lambda *of: None)
    monkeypatch.setattr(files, "PAUSE", 0.01)
    yield process, tmp_path / name
    process.kill()
    process.wait()


def test_what_another_host_holds_is_held(other_host, tmp_path):
    process, made = other_host
    with files.locked(tmp_path / ".lock") as mine:
        assert not mine
    assert files.holder(tmp_path / ".lock") == f"{process.pid} on other"
    files.remove_abandoned(tmp_path, "made-")
    assert made.is_dir()
    told = []
    waiter = threading.Thread(target=wait_for, args=(tmp_path / ".lock", told))
    waiter.start()
    while not told:
        time.sleep(0.01)
    process.stdin.write("done\n")
    process.stdin.flush()
    waiter.join(60)
    assert told == ["waits", "has it"]
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_a_folder_whose_host_is_not_written_yet_is_left_alone(tmp_path):
    made = tmp_path / "made-just-now"
    made.mkdir()
    (made / "lock").touch()
    files.remove_abandoned(tmp_path, "made-")
    assert [path.name for path in made.iterdir()] == ["lock"], "nothing is made in it either"
    os.utime(made / "lock", (0, 0))
    files.remove_abandoned(tmp_path, "made-")
    assert not made.exists()


def test_a_lease_that_was_taken_by_mistake_goes_back_unless_a_third_holds_one(tmp_path, monkeypatch):
    path, rename = tmp_path / ".lock.host", os.rename
    stale, faster, third = ({"host": name, "process": 1, "lease": name} for name in ("gone", "faster", "third"))
    for others in ((faster,), (faster, third)):
        path.write_text(json.dumps(stale))
        os.utime(path, (0, 0))

        def late(one, two, others=others):
            path.write_text(json.dumps(others[0]))
            rename(one, two)
            if others[1:]:
                path.write_text(json.dumps(others[1]))

        with monkeypatch.context() as patched:
            patched.setattr(leases.os, "rename", late)
            assert not leases._freed(path, told_apart=True)
        assert leases.held_by(path) == others[-1]
        assert list(tmp_path.iterdir()) == [path]


def test_what_a_host_held_that_is_gone_is_free_after_a_while(other_host, tmp_path):
    process, made = other_host
    process.kill()
    process.wait()
    with files.locked(tmp_path / ".lock") as mine:
        assert not mine
    for path, age in ((tmp_path / ".lock.host", leases.GONE), (made / "lock", files.STALE)):
        then = path.stat().st_mtime - age - 1
        os.utime(path, (then, then))
    with files.locked(tmp_path / ".lock") as mine:
        assert mine
    files.remove_abandoned(tmp_path, "made-")
    assert not made.exists()


def test_without_any_locks_the_processes_of_a_host_are_told_apart_by_their_numbers(tmp_path, monkeypatch):
    def refuse(*of):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(files.fcntl, "flock", refuse)
    with files.locked(tmp_path / ".lock") as first, files.locked(tmp_path / ".lock") as second:
        assert first and not second
    (tmp_path / ".lock.host").write_text(json.dumps({"host": leases.HOST, "process": 2**22 - 1, "lease": "of one that was killed"}))
    with files.locked(tmp_path / ".lock") as mine:
        assert mine
    if not Path("/proc/self/stat").exists():
        return
    again = {"host": leases.HOST, "process": os.getpid(), "began": "1", "lease": "of one that was killed, whose number came again"}
    (tmp_path / ".lock.host").write_text(json.dumps(again))
    with files.locked(tmp_path / ".lock") as mine:
        assert mine


def test_a_lease_that_changed_hands_is_given_back(tmp_path, monkeypatch):
    """Two hosts find a lease of a third that is gone: the slower one must not take away what the faster one has made."""
    path = tmp_path / "lease"
    path.write_text(json.dumps({"host": "gone", "process": 1, "lease": "old"}))
    faster = {"host": "faster", "process": 1, "lease": "new"}

    def meanwhile(file):
        path.write_text(json.dumps(faster))
        return leases.GONE + 1

    monkeypatch.setattr(leases, "silent", meanwhile)
    with leases.leased(path, True) as mine:
        assert not mine
    assert leases.held_by(path) == faster and [file.name for file in tmp_path.iterdir()] == ["lease"]


@pytest.mark.parametrize("address", ["s3://bucket/out", "hf://datasets/owner/name"])
def test_an_address_is_refused_and_no_folder_of_that_name_made(address, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="mount the store"), files.locked(Path(address) / ".lock"):
        pass
    with pytest.raises(UserError, match="mount the store"):
        list(Files(path=address).documents(Tally("notes")))
    assert not list(tmp_path.iterdir())
