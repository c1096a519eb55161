"""`windtunnel curate`: whole or not at all, nothing twice, and everything that went is there with its reason."""

from __future__ import annotations

import importlib.metadata
import json
import os
import random
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from pyarrow import parquet

import windtunnel as wt
from windtunnel.core import outside
from windtunnel.core.errors import UserError
from windtunnel.data.corpus.curation import Curation
from windtunnel.data.corpus.tally import Tally
from windtunnel.slots import Curator, CuratorContext
from windtunnel.study import stages
from windtunnel.study.curate import load_curation
from windtunnel.study.launch.mapped import call_on_node, mapping
from windtunnel.train.joining import start

WORDS = [f"{a}{b}{c}" for a in "bdfgklmn" for b in "aeio" for c in "rstx"]
CURATORS = [{"near-duplicates": {"similarity": 0.5}}, {"length": {"shortest": 60}}]


def text(number: int, words: int = 40) -> str:
    return " ".join(random.Random(number).choices(WORDS, k=words))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    notes = [{"text": text(n % 20), "date": f"2020-01-{n + 1:02d}"} for n in range(30)] + [{"text": "short"}, {"text": " "}]
    (tmp_path / "notes.jsonl").write_text("".join(json.dumps(one) + "\n" for one in notes))
    (tmp_path / "mail").mkdir()
    for number in range(10, 40):
        (tmp_path / "mail" / f"{number}.txt").write_text(text(number))
    return tmp_path


def sources(folder: Path) -> dict[str, str]:
    return {"notes": str(folder / "notes.jsonl"), "mail": str(folder / "mail")}


def documents(out: Path) -> list[dict]:
    return [row for path in sorted((out / "documents").iterdir()) for row in parquet.read_table(path).to_pylist()]


def test_documents_victims_and_counts_add_up(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stages, "SHARD", 2000)
    result = wt.curate(sources(folder), folder / "out", curators=CURATORS, quiet=True)
    kept, gone = documents(folder / "out"), parquet.read_table(folder / "out" / "victims.parquet").to_pylist()
    assert len(kept) == 40 and len({row["text"] for row in kept}) == 40
    assert {row.get("date") for row in kept if row["origin"].startswith("notes")} == {f"2020-01-{n + 1:02d}" for n in range(20)}
    assert sorted((one["curator"], one["source"]) for one in gone) == sorted(
        [("near-duplicates", "notes")] * 10 + [("near-duplicates", "mail")] * 10 + [("length", "notes")]
    )
    assert all(one["detail"].startswith("of notes.jsonl:") for one in gone if one["curator"] == "near-duplicates")
    near, length = result["funnel"]
    assert near["before"]["notes"][0] == 31 and near["after"] == {"notes": [21, near["after"]["notes"][1]], "mail": near["after"]["mail"]}
    assert length["removed"][0]["reason"] == "length" and length["removed"][0]["examples"][0]["beginning"] == "short"
    assert {row["what"]: row["documents"] for row in result["sources"] if row["source"] == "notes"} == {
        "read": 31,
        "skipped: empty document": 1,
    }
    page = (folder / "out" / "report.html").read_text()
    assert "near-duplicates" in page and "of notes.jsonl:" in page and result["cost"]["cpu_seconds"] > 0
    assert json.loads((folder / "out" / "curated.json").read_text()) == result


def test_killed_anywhere_it_goes_on_to_the_same_end(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stages, "SHARD", 2000)
    whole = wt.curate(sources(folder), folder / "whole", curators=CURATORS, quiet=True)
    real, calls, kill = stages._judge, [], [2]

    def judged(job: stages.Job) -> dict:
        calls.append(job[5])
        if len(calls) == kill[0]:
            raise KeyboardInterrupt
        return real(job)

    monkeypatch.setattr(stages, "_judge", judged)
    with pytest.raises(KeyboardInterrupt):
        wt.curate(sources(folder), folder / "cut", curators=CURATORS, quiet=True)
    assert not (folder / "cut" / "documents").exists() and not (folder / "cut" / "curated.json").exists()
    monkeypatch.setattr(stages, "_scan", lambda job: pytest.fail("scanned again"))
    found = wt.curate(sources(folder), folder / "cut", curators=CURATORS, quiet=True)
    assert found["files"] == whole["files"] and found["key"] == whole["key"] and documents(folder / "cut") == documents(folder / "whole")
    # Another last curator takes over what stands before it.
    monkeypatch.setattr(stages, "_judge", lambda job: pytest.fail("judged again"))
    more = wt.curate(sources(folder), folder / "cut", curators=[CURATORS[0], {"length": {"shortest": 1}}], quiet=True)
    assert len(documents(folder / "cut")) == 41 and more["key"] != found["key"]


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """Ray with two processors."""
    ray = pytest.importorskip("ray")
    os.environ["RAY_AUTH_MODE"] = "disabled"
    ray.init(num_cpus=2, address="local", include_dashboard=False, log_to_driver=False, logging_level="error")
    yield
    ray.shutdown()


OWN = """
from windtunnel.data.corpus.fields import text_of
from windtunnel.data.corpus.judging import Judge
from pydantic import Field

class WithoutWord(Judge, name="test-without-word"):
    "Remove documents that hold a word."
    word: str = Field("bab", description="the word")
    def judge(self, documents, found):
        return documents, ["word" if text and self.word in text else None for text in text_of(documents)]
"""


@pytest.mark.parametrize("engine", ["local", "ray"])
def test_two_workers_give_what_one_gives(
    folder: Path, capsys: pytest.CaptureFixture[str], engine: str, request: pytest.FixtureRequest
) -> None:
    if engine == "ray":
        request.getfixturevalue("cluster")
    (folder / "own.py").write_text(OWN)
    outside.load_file(folder / "own.py")  # a part that only this process knows so far
    curators = [*CURATORS, {"test-without-word": {"word": WORDS[7]}}]
    one = wt.curate(sources(folder), folder / "one", curators=curators, quiet=True)
    two = wt.curate(sources(folder), folder / "two", curators=curators, workers=2, engine=engine)
    assert "judged 2 of 2" in capsys.readouterr().out, "a shard each"
    assert two["files"] == one["files"] and two["key"] == one["key"] and documents(folder / "two") == documents(folder / "one")
    victims = [parquet.read_table(folder / name / "victims.parquet").to_pylist() for name in ("one", "two")]
    assert victims[0] == victims[1] and {row["curator"] for row in victims[0]} == {"near-duplicates", "length", "test-without-word"}


def test_a_node_that_does_not_see_the_folder_says_so(folder: Path) -> None:
    with pytest.raises(UserError, match=r"does not see .*/elsewhere: the output folder has to be on storage that every node mounts"):
        call_on_node(len, [], folder / "elsewhere", [])


@pytest.mark.usefixtures("cluster")
def test_what_a_ray_worker_refuses_is_told_as_it_is_here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parent)
    with pytest.raises(UserError, match="no number"), mapping(2, "ray", None, folder) as mapped:
        list(mapped(refuse, ["1", "x"]))


def refuse(job: str) -> int:
    if not job.isdigit():
        raise UserError(f"{job!r} is no number")
    return int(job)


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("corpus: {a: x}\ncurator: length", "c.yaml:2: curator: unknown key 'curator'; did you mean 'curators'"),
        ("corpus: {a: x}\ncurators: [{lenght: {}}]", "c.yaml:2: curators.*no Curator is called 'lenght'; did you mean 'length'"),
        ("corpus: {a: x}", "curators: none is named"),
    ],
)
def test_what_a_file_says_wrong(tmp_path: Path, written: str, message: str) -> None:
    (tmp_path / "c.yaml").write_text(written)
    with pytest.raises(UserError, match=message):
        load_curation(tmp_path / "c.yaml")


def test_empty_sources_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(" ")
    with pytest.raises(UserError, match="corpus source 'a': no document that holds anything"):
        wt.curate({"a": str(tmp_path / "a.txt")}, tmp_path / "out", curators=["exact-duplicates"], quiet=True)


def test_documents_without_text_stay_beside_those_with_text(folder: Path) -> None:
    (folder / "table.jsonl").write_text("".join(json.dumps({"id": n}) + "\n" for n in range(7)))
    wt.curate({**sources(folder), "table": str(folder / "table.jsonl")}, folder / "out", curators=["length"], quiet=True)
    rows = [row for row in documents(folder / "out") if row["origin"].startswith("table")]
    assert [row["id"] for row in rows] == [*range(7)] and all("text" not in row for row in rows)


def test_where_nothing_would_stay_what_was_there_before_does(folder: Path) -> None:
    wt.curate(sources(folder), folder / "out", curators=CURATORS[1:], quiet=True)
    before = documents(folder / "out")
    with pytest.raises(UserError, match="curator 'length' removed every document"):
        wt.curate(sources(folder), folder / "out", curators=[{"length": {"shortest": 10**6}}], quiet=True)
    assert before and documents(folder / "out") == before and (folder / "out" / "curated.json").exists()


def test_tests_that_changed_are_read_again(folder: Path) -> None:
    (folder / "tests.txt").write_text(text(3))
    curators = [{"decontaminate": {"tests": {"files": {"path": str(folder / "tests.txt")}}}}]
    first = wt.curate(sources(folder), folder / "out", curators=curators, quiet=True)
    (folder / "tests.txt").write_text(f"{text(3)}. {text(4)}")
    second = wt.curate(sources(folder), folder / "out", curators=curators, quiet=True)
    assert second["funnel"][0]["removed"][0]["documents"] > first["funnel"][0]["removed"][0]["documents"]


def test_models_are_paid_for(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    curation = Curation(runs={"a": {"flops": 7.0}})

    def context(curator: Curator, tally: Tally) -> CuratorContext:
        curation.spent["flops"] = curation.spent.get("flops", 0.0) + 5.0
        return CuratorContext(tally)

    curation.context = context
    monkeypatch.setattr("windtunnel.study.curate._curation", lambda *_: curation)
    assert wt.curate(sources(folder), folder / "out", curators=CURATORS, quiet=True)["cost"]["flops"] == 17.0


def test_stages_are_named_by_what_decides_the_text_and_need_no_other_package(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.metadata.version

    def version(package: str) -> str:
        if package not in ("daft", "pypdf", "python-docx", "resiliparse"):
            raise importlib.metadata.PackageNotFoundError(package)
        return real(package)

    monkeypatch.setattr(importlib.metadata, "version", version)
    name = stages._named("read", "notes")
    monkeypatch.setattr("windtunnel.data.corpus.reading.READING", 0)
    assert stages._named("read", "notes") != name


@pytest.mark.parametrize("address", ["127.0.0.1:1", "127.0.0.1:99999", "nowhere.invalid:6379"])
def test_a_cluster_that_is_not_there_is_named_at_once(address: str) -> None:
    began = time.monotonic()
    with pytest.raises(UserError, match=f"cannot reach the Ray cluster at {address}: "):
        start(SimpleNamespace(init=lambda **_: pytest.fail("Ray would try for minutes")), address)
    assert time.monotonic() - began < 10
