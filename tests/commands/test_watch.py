"""The live page: what it says of runs in every state, that only this machine sees it, and that it changes nothing."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from example_result import example

from windtunnel.commands.main import main
from windtunnel.commands.watch import serve
from windtunnel.core.errors import UserError
from windtunnel.report import live
from windtunnel.study.flying import seconds_left, state, write_stage
from windtunnel.train.record import RunRecord, write_record

SPEED = {
    "tokens_per_second": 12345.0,
    "step_seconds": 0.0123,
    "step_seconds_95": 0.02,
    "data_share": 0.25,
    "memory_bytes": 2e9,
    "mfu": 0.41,
}
NAME = "<b>arm</b>"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """The folder of a study of five runs: one flies, one is quiet, one waits, one has finished, one has failed."""
    study = tmp_path / "studies" / "mine"
    study.mkdir(parents=True)
    names = {"flying": 0, "quiet": 1, "waiting": 2, "finished": 3, "failed": 4}
    write_stage(study, {(name, NAME): seed for name, seed in names.items()})
    (study / "report.html").write_text("<p>so far", encoding="utf-8")
    for name in names:
        if name != "waiting":
            (tmp_path / "runs" / name).mkdir(parents=True)
    for name in ("flying", "quiet"):
        lines = [{"step": 10 * n, "loss": 6.0 - n / 100, "seconds": float(n), "done": n / 400, "speed": SPEED} for n in range(1, 101)]
        text = "".join(json.dumps(line) + "\n" for line in lines) + '{"step": 1010, "lo'
        (tmp_path / "runs" / name / "log.jsonl").write_text(text, encoding="utf-8")
    os.utime(tmp_path / "runs" / "quiet" / "log.jsonl", (time.time() - 1000,) * 2)
    record = {"key": "k", "seed": 3, "primary": "bits_per_byte", "test": {"bits_per_byte": 1.5}}
    write_record(tmp_path / "runs" / "finished", RunRecord.model_validate({**record, "status": "finished"}))
    failure = {"kind": "diverged", "message": "the loss is not finite", "traceback": ""}
    write_record(tmp_path / "runs" / "failed", RunRecord.model_validate({**record, "seed": 4, "status": "failed", "failure": failure}))
    return tmp_path


@pytest.fixture
def port(out: Path) -> Iterator[int]:
    with serve(out, 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def got(port: int, path: str, host: str = "127.0.0.1", method: str = "GET") -> tuple[int, str, http.client.HTTPMessage]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    connection.request(method, path, headers={"Host": host})
    answer = connection.getresponse()
    return answer.status, answer.read().decode(), answer.headers


def test_the_state_of_every_run(out: Path) -> None:
    found = state(out)
    flights = {flight.run: flight for flight in found.flights}
    assert {name: flight.status for name, flight in flights.items()} == {name: name for name in flights}
    assert list(flights)[:3] == ["flying", "quiet", "waiting"], "what flies comes first"
    flying = flights["flying"]
    assert (flying.step, flying.done, flying.loss, flying.seconds) == (1000, 0.25, 5.0, 100.0)
    assert flying.left == pytest.approx(300.0) and flying.speed == SPEED and flying.labels == [f"mine: {NAME}"]
    assert len(flying.losses) <= 120 and flying.losses[-1] == (0.25, 5.0)
    assert flights["finished"].test == "bits_per_byte 1.5000" and flights["failed"].error == "the loss is not finite"
    assert found.studies["mine"] == {name: 1 for name in flights} and list(found.reports) == ["mine"]


def test_what_needed_models_cost_is_not_the_pace_of_a_run() -> None:
    first, last = ({"seconds": 1000.0 + made, "done": made / 40} for made in (1, 10))
    assert seconds_left(first, last) == pytest.approx(30.0)
    assert seconds_left(first, first) is None and seconds_left({}, {}) is None


def test_a_run_that_goes_on_flies_again(out: Path) -> None:
    folder = out / "runs" / "quiet"
    write_record(folder, RunRecord.model_validate({"key": "k", "seed": 1, "status": "interrupted"}))
    assert {flight.run: flight.status for flight in state(out).flights}["quiet"] == "interrupted"
    later = time.time() + 1
    os.utime(folder / "log.jsonl", (later, later))
    assert {flight.run: flight.status for flight in state(out).flights}["quiet"] == "flying"


def test_the_page_shows_what_is_there_and_runs_nothing(port: int, out: Path) -> None:
    before = sorted((path, path.stat().st_mtime_ns) for path in out.rglob("*") if path.is_file())
    code, text, headers = got(port, "/")
    assert code == 200 and headers["Refresh"] == "5"
    for shown in ("12.3 k", "12.3 ms", "25%", "1.9 GiB", "41%", "5.000", "quiet for", "the loss is not finite"):
        assert shown in text, shown
    _, listed, headers = got(port, "/runs")
    assert "bits_per_byte 1.5000" in listed and "waiting" in listed and "Refresh" not in headers
    assert "&lt;b&gt;arm" in text and "<b>arm" not in text and "<script" not in text
    code, text, _ = got(port, "/state.json")
    assert json.loads(text)["studies"]["mine"]["flying"] == 1
    assert got(port, "/report/mine")[:2] == (200, "<p>so far")
    (out / "studies" / "100% #1").mkdir()
    (out / "studies" / "100% #1" / "report.html").write_text("<p>named so", encoding="utf-8")
    assert 'href="report/100%25%20%231"' in got(port, "/")[1] and got(port, "/report/100%25%20%231")[1] == "<p>named so"
    shutil.rmtree(out / "studies" / "100% #1")
    assert sorted((path, path.stat().st_mtime_ns) for path in out.rglob("*") if path.is_file()) == before


def test_a_study_that_flies_has_the_report_of_what_it_has(port: int, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawn of its result when it is asked for, also where a report of before lies beside it; nothing is written."""
    monkeypatch.setattr("windtunnel.report.document.document", lambda result: f"<p>{len(result['runs'])} runs so far")
    study = out / "studies" / "begun"
    study.mkdir()
    assert 'href="report/begun"' not in got(port, "/")[1] and got(port, "/report/begun")[0] == 404
    (study / "result.json").write_text(json.dumps(example(seeds=2)), encoding="utf-8")
    assert 'href="report/begun"' in got(port, "/")[1]
    code, text, headers = got(port, "/report/begun")
    assert (
        code == 200 and "runs so far" in text and headers["Content-Type"].startswith("text/html") and not (study / "report.html").exists()
    )
    (study / "report.html").write_text("<p>whole", encoding="utf-8")
    assert got(port, "/report/begun")[1] == "<p>whole"
    later = time.time() + 10
    os.utime(study / "result.json", (later, later))
    assert "runs so far" in got(port, "/report/begun")[1]
    (study / "result.json").write_text("{", encoding="utf-8")
    os.utime(study / "result.json", (later + 1, later + 1))
    assert got(port, "/report/begun")[0] == 500


@pytest.mark.parametrize("path", ["/report/other", "/report/../runs/flying/log.jsonl", "/runs/flying/log.jsonl", "/%2e%2e/"])
def test_nothing_else_is_served(port: int, path: str) -> None:
    assert got(port, path)[0] == 404


def test_only_this_machine_is_answered_and_only_questions(port: int) -> None:
    assert got(port, "/", host="elsewhere.example")[0] == 403
    assert got(port, "/", host=f"localhost:{port}")[0] == 200
    assert got(port, "/", method="POST")[0] == 501


def test_mistakes_are_named(tmp_path: Path, port: int, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match=f"--port {port}: .*; choose another"):
        serve(tmp_path, port)
    with pytest.raises(SystemExit) as end:
        main(["watch", str(tmp_path / "nowhere")])
    assert end.value.code == 2 and "neither the --out of studies nor the folder of a run" in capsys.readouterr().err


def test_the_folder_of_one_run_and_of_nothing(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = out / "runs" / "flying"
    (folder / "plan.json").write_text("{}")
    with pytest.raises(SystemExit) as end:
        main(["watch", str(folder), "--json"])
    assert not end.value.code
    (flight,) = json.loads(capsys.readouterr().out)["flights"]
    assert (flight["run"], flight["status"]) == ("flying", "flying")
    (out / "new" / "runs").mkdir(parents=True)
    assert "Nothing flies here" in live.document(state(out / "new"), 5)
