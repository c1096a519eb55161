"""What a team shares: whole or not at all, and a study goes on where the store fails."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import pytest

from windtunnel.core.errors import UserError
from windtunnel.core.shared import WHOLE, Share


@pytest.fixture(params=["memory", "folder"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"memory://{uuid.uuid4().hex}/team" if request.param == "memory" else str(tmp_path / "team")


@pytest.fixture
def made(tmp_path: Path) -> Path:
    (tmp_path / "made" / "deep").mkdir(parents=True)
    (tmp_path / "made" / "a.bin").write_bytes(bytes(range(256)))
    (tmp_path / "made" / "deep" / "b.txt").write_text("a river")
    return tmp_path / "made"


def test_what_one_brings_another_fetches(address: str, made: Path, tmp_path: Path) -> None:
    told: list[str] = []
    one, other = Share(address, told.append), Share(address, told.append)
    here = tmp_path / "here"
    here.mkdir()
    assert not other.fetch("streams/x", here) and other.text("records/y.json") is None
    one.bring("streams/x", made)
    other.bring("streams/x", made)  # a second time is none
    one.put_text("records/y.json", "{}")
    assert other.fetch("streams/x", here) and other.text("records/y.json") == "{}"
    assert {path.relative_to(here): path.read_bytes() for path in here.rglob("*") if path.is_file()} == {
        path.relative_to(made): path.read_bytes() for path in made.rglob("*") if path.is_file()
    }
    uploads = {str(path).rpartition("streams/x/")[2].split("/")[0] for path in one.system.find(one._path("streams/x"))}
    assert len(uploads - {WHOLE}) == 1 and not told


@pytest.mark.parametrize("fault", ["size", "gone", "outside", "cut", "list", "keys"])
def test_what_is_not_whole_is_not_there(address: str, made: Path, tmp_path: Path, fault: str) -> None:
    told: list[str] = []
    share = Share(address, told.append)
    share.bring("x", made)
    listed = json.loads(share.text(f"x/{WHOLE}") or "")
    if fault == "size":
        listed["files"]["deep/b.txt"] = 3
    elif fault == "gone":
        listed["files"]["deep/c.txt"] = 3
    elif fault == "outside":
        listed["files"] = {"../../evil": 1}
    elif fault == "list":
        listed = [1]
    elif fault == "keys":
        listed = {"a": 1}
    share.put_text(f"x/{WHOLE}", json.dumps(listed)[: 9 if fault == "cut" else None])
    here = tmp_path / "in" / "here"
    here.mkdir(parents=True)
    (here / "mine").write_text("stays")
    assert not share.fetch("x", here) and [path.name for path in here.rglob("*")] == ["mine"]
    assert len(told) == (fault in ("size", "gone", "outside")) and not (tmp_path / "evil").exists()


def test_a_store_that_fails_is_refused_at_first_and_told_later(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="--share: is empty"):
        Share("")
    for address, why in (("nosuch://x/y", "nosuch"), (str(tmp_path / "file" / "in"), "cannot be reached")):
        with pytest.raises(UserError, match=f"--share {address}.*{why}"):
            Share(address)
    told: list[str] = []
    share = Share(str(tmp_path / "team"), told.append)
    (tmp_path / "team").rmdir()
    (tmp_path / "team").write_text("")
    share.put_text("records/y.json", "{}")
    share.bring("x", tmp_path)
    assert share.text("records/y.json") is None and len(told) >= 2 and "records/y.json was not written" in told[0]
