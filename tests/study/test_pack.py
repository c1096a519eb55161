"""Packs: what is in one, in which order it flies, what it needs, and what joins when it comes back."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from windtunnel.commands.pack import size_of
from windtunnel.core.errors import UserError
from windtunnel.core.keys import Variant
from windtunnel.data.cut import restore, write_cut
from windtunnel.data.loader import Loader
from windtunnel.data.stream import Stream, manifest_hash
from windtunnel.models.load import load
from windtunnel.models.locate import STANDING_IN
from windtunnel.slots import Progress
from windtunnel.study.file import study_from
from windtunnel.study.fly import fly_study
from windtunnel.study.launch import local
from windtunnel.study.launch.worker import Job
from windtunnel.study.pack import flight as flight_module
from windtunnel.study.pack.fill import Flown, Throughput, Width
from windtunnel.study.pack.flight import PackFlight, fly_pack, ran_out
from windtunnel.study.pack.make import pack_studies, reads_otherwise
from windtunnel.study.pack.manifest import FORMATS, Manifest, Packed, Slot, read, version
from windtunnel.study.pack.queue import by_value, queue
from windtunnel.study.pack.results import read_results
from windtunnel.study.pack.unpack import unpack
from windtunnel.study.pilots import Means
from windtunnel.train.record import RunRecord, read_record
from windtunnel.train.run import fly

SMALL: dict[str, Any] = {
    "tokenizer": {"vocabulary": 512, "sentinels": 16},
    "split": {"validation": 0.1, "test": 0.1},
    "model": {"depth": 2, "width": 32, "heads": 2},
    "context": 32,
    "batch": 4,
    "evaluate_every": 1.0,
    "evaluation_tokens": 128,
    "test_tokens": 256,
    "precision": "float32",
    "compile": "no",
}
ARMS: dict[str, Any] = {"wide": {"context": 64}, "grown": {"start": {"trained": {"model": {"recipe": "base"}}}}}
# What is not there where only torch, transformers and pydantic are.
ABSENT = (
    "altair",
    "daft",
    "docx",
    "click",
    "pandas",
    "pyarrow",
    "pypdf",
    "ray",
    "resiliparse",
    "rich",
    "scipy",
    "sklearn",
    "typer",
    "vl_convert",
)


def study_of(corpus: Any, name: str = "packed", **fields: Any) -> Any:
    raw = {"corpus": corpus, "budget": {"steps": 3}, "seeds": 1, "curve": [1], "baseline": SMALL, "arms": ARMS}
    return study_from({**raw, "recipes": {"base": {"share": 0.4}}, **fields}, name=name)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where text is prepared."""
    return tmp_path_factory.mktemp("prepared")


@pytest.fixture(scope="module")
def pack(corpus: Any, out: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pack of a tiny study. Nobody changes it."""
    folder = tmp_path_factory.mktemp("pack") / "pack"
    pack_studies([study_of(corpus)], folder, out=out)
    return folder


@pytest.fixture(scope="module")
def flown(pack: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What came of it on a bare machine: the package is that of the pack, and what such a machine lacks cannot be imported."""
    folder = tmp_path_factory.mktemp("bare")
    absent = f"import sys\nfor name in {ABSENT}:\n    sys.modules[name] = None\n"
    (folder / "sitecustomize.py").write_text(absent, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(folder), "CUDA_VISIBLE_DEVICES": ""}
    words = [sys.executable, str(pack / "fly.py"), "--minutes", "10", "--out", "flown", "--workers", "1"]
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("finished in") == 4, done.stdout
    return folder / "flown"


def test_a_bare_machine_flies_a_pack_and_its_runs_join_as_if_flown_here(corpus, pack, flown, out, tmp_path, monkeypatch):
    listed = read_results(flown)
    assert listed is not None and listed.waiting == 0 and len(listed.runs) == 4
    here = tmp_path / "out"
    shutil.copytree(out, here)
    found = unpack([flown], here)
    assert len(found.joined) == 4 and not found.refused
    assert not list(here.glob("runs/*/model")), "records alone unless weights are asked for"
    monkeypatch.setattr(local, "fly_jobs", lambda jobs, **_: pytest.fail(f"{len(jobs)} runs would be flown"))
    result = fly_study(study_of(corpus), here, workers=1, quiet=True)
    assert [run["status"] for run in result["runs"]] == ["finished"] * 3 and result["finished"]
    again = unpack([flown], here)
    assert not again.joined and len(again.known) == 4
    assert len(unpack([flown], here, weights=True).joined) == 4 and len(list(here.glob("runs/*/model/config.json"))) == 4


def test_what_a_pack_flew_is_bitwise_what_is_flown_here(corpus, flown, out, tmp_path):
    name = next(one for one, run in read_results(flown).runs.items() if run["run"] == "baseline")
    stream = Stream.open(next(path for path in (out / "cache" / "streams").iterdir() if path.is_dir()))
    here = fly(study_of(corpus).resolved["baseline"], 0, stream, tmp_path / "run", threads=1, device="cpu", variant=Variant())
    there = read_record(flown / name)
    assert there.test == here.test and there.key == here.key and there.stream == here.stream
    weights = [(folder / "model" / "model.safetensors").read_bytes() for folder in (flown / name, tmp_path / "run")]
    assert weights[0] == weights[1]


# Bad input ------------------------------------------------------------------------------------------------------------------------


def broken(flown: Path, tmp_path: Path) -> Path:
    copy = tmp_path / "flown"
    shutil.copytree(flown, copy, ignore=shutil.ignore_patterns("cache", "model"))
    return copy


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (lambda run: (run / "record.json").write_text((run / "record.json").read_text()[:200]), "record.json has 200 bytes of"),
        (lambda run: (run / "record.json").unlink(), "record.json is missing"),
        (lambda run: (run / "log.jsonl").write_bytes((run / "log.jsonl").read_bytes().replace(b"0", b"1")), "another content"),
        (lambda run: (run / "sealed.json").write_text("{"), "cut off"),
        (lambda run: shutil.rmtree(run), "missing or not whole"),
    ],
)
def test_a_damaged_run_is_named_and_the_others_are_taken(flown, tmp_path, damage, expected):
    copy = broken(flown, tmp_path)
    victim = sorted((copy / "runs").iterdir())[1]
    damage(victim)
    found = unpack([copy], tmp_path / "here")
    assert len(found.joined) == 3 and victim.name not in found.joined
    assert len(found.refused) == 1 and victim.name in found.refused[0] and expected in found.refused[0] and "again" in found.refused[0]


def test_a_list_that_was_cut_off_loses_no_run(flown, tmp_path):
    copy = broken(flown, tmp_path)
    (copy / "flown.json").write_text((copy / "flown.json").read_text()[:100])
    found = unpack([copy], tmp_path / "here")
    assert len(found.joined) == 4 and "whether others are missing cannot be told" in found.refused[0]


def test_results_of_another_format_are_refused_before_anything_is_taken(flown, tmp_path):
    copy = broken(flown, tmp_path)
    for path in (copy / "flown.json", *copy.glob("runs/*/sealed.json")):
        content = json.loads(path.read_text())
        content |= {"formats": {**FORMATS, "record": 1}, "version": "0.0.1"}
        path.write_text(json.dumps({**content, "hash": manifest_hash(content)}))
    with pytest.raises(UserError, match=r"record 1 instead of 2.*pip install windtunnel==0\.0\.1"):
        unpack([copy], tmp_path / "here")
    assert not (tmp_path / "here").exists()


def test_a_run_that_means_something_else_here_does_not_join(flown, tmp_path):
    copy = broken(flown, tmp_path)
    run = next((copy / "runs").iterdir())
    content = json.loads((run / "sealed.json").read_text())
    content["variant"]["attention"] = "products"
    (run / "sealed.json").write_text(json.dumps({**content, "hash": manifest_hash(content)}))
    assert "has the key" in unpack([copy], tmp_path / "here").refused[0]


def test_a_study_that_was_begun_here_with_another_variant_is_told(flown, tmp_path):
    folder = tmp_path / "here" / "studies" / "packed"
    folder.mkdir(parents=True)
    (folder / "variant.json").write_text(Variant(precision="bfloat16").model_dump_json())
    found = unpack([flown], tmp_path / "here")
    assert len(found.joined) == 4, "nothing is lost"
    assert "bfloat16" in found.refused[0] and "folder of its own" in found.refused[0]
    assert "bfloat16" in (folder / "variant.json").read_text(), "and what was begun here stays"


def test_what_is_no_result_says_what_to_do(pack, tmp_path):
    with pytest.raises(UserError, match="is a pack and not what came of it; fly it first"):
        unpack([pack], tmp_path)
    with pytest.raises(UserError, match="holds no results of a pack"):
        unpack([tmp_path], tmp_path)


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (lambda folder: next(folder.glob("streams/*/train/*.tokens.z")).unlink(), "tokens.z is missing"),
        (lambda folder: next(folder.glob("streams/*/manifest.json")).write_text("{}"), "manifest.json has 2 bytes of"),
        (lambda folder: (folder / "fly.py").write_bytes((folder / "fly.py").read_bytes()[::-1]), "fly.py has another content"),
        (lambda folder: (folder / "pack.json").write_text("{"), "damaged or cut off"),
        (lambda folder: (folder / "pack.json").unlink(), "so it is not a pack"),
    ],
)
def test_a_pack_that_is_not_whole_is_refused(pack, tmp_path, damage, expected):
    shutil.copytree(pack, tmp_path / "pack")
    damage(tmp_path / "pack")
    with pytest.raises(UserError, match=expected):
        fly_pack(tmp_path / "pack", tmp_path / "out", minutes=1)


def test_a_pack_whose_code_is_not_whole_says_so(pack, tmp_path):
    shutil.copytree(pack, tmp_path / "pack")
    (tmp_path / "pack" / "code" / "windtunnel" / "core" / "files.py").unlink()
    words = [sys.executable, str(tmp_path / "pack" / "fly.py"), "--minutes", "1", "--out", str(tmp_path / "out")]
    bare = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=tmp_path, env=bare)
    assert done.returncode == 2 and "code is not whole: No module named 'windtunnel.core.files'; copy the pack again" in done.stderr


def test_a_pack_of_another_version_names_its_own_package(pack, tmp_path):
    shutil.copytree(pack, tmp_path / "pack")
    content = json.loads((pack / "pack.json").read_text()) | {"version": "0.0.1"}
    (tmp_path / "pack" / "pack.json").write_text(json.dumps({**content, "hash": manifest_hash(content)}))
    with pytest.raises(UserError, match=rf"made by windtunnel 0\.0\.1, and this is {version()}.*python .*fly\.py"):
        read(tmp_path / "pack")


def test_results_of_two_packs_stay_apart(pack, flown, tmp_path):
    content = json.loads((flown / "flown.json").read_text()) | {"pack": "another"}
    (tmp_path / "flown.json").write_text(json.dumps({**content, "hash": manifest_hash(content)}))
    with pytest.raises(UserError, match="results of another pack"):
        fly_pack(pack, tmp_path, minutes=1)


# What is packed -------------------------------------------------------------------------------------------------------------------


def test_what_does_not_fit_is_named_and_the_rest_is_packed(corpus, out, tmp_path):
    both = [study_of(corpus), study_of(corpus, name="dear", budget={"steps": 3000}, baseline={**SMALL, "tokenizer": {"vocabulary": 600}})]
    whole = pack_studies(both, tmp_path / "whole", out=out)
    assert [study.name for study in whole.manifest.studies] == ["packed", "dear"]
    made = pack_studies(both, tmp_path / "less", out=out, most=whole.bytes - 1)
    assert [study.name for study in made.manifest.studies] == ["packed"] and made.bytes < whole.bytes
    assert "study dear does not fit" in made.manifest.left_out[0] and "stream" in made.manifest.left_out[0]
    assert len(list((tmp_path / "less" / "streams").iterdir())) == 1
    with pytest.raises(UserError, match=r"nothing fits: study packed does not fit into 0\.001 MB"):
        pack_studies(both, tmp_path / "none", out=out, most=1000)
    assert not (tmp_path / "none").exists()
    with pytest.raises(UserError, match="is not empty"):
        pack_studies(both, tmp_path / "less", out=out)


def test_of_a_corpus_that_is_larger_than_the_budget_what_is_read_is_packed(stream, tmp_path):
    source, seeds, steps = stream.sources[0], (0, 1), 3

    def loader(of: Any, seed: int) -> Loader:
        return Loader(of, sources=[source], context=16, sequences=2, seed=seed)

    units = steps * 2 * 17
    read_by = {seed: loader(stream, seed).read_until(source, units) for seed in seeds}
    kept = read_by[0] | read_by[1]
    assert 0 < kept.sum() < len(kept)
    write_cut(stream, tmp_path / "cut", {source: kept})
    there = restore(tmp_path / "cut", tmp_path / "there")
    there.verify()
    assert there.fingerprint == stream.fingerprint and there.sizes("train") == stream.sizes("train")
    progress = Progress.first(2)
    for seed in seeds:
        ours, theirs = loader(stream, seed), loader(there, seed)
        for _ in range(steps):
            for name, rows in ours.rows(progress).items():
                np.testing.assert_array_equal(rows, theirs.rows(progress)[name] if name == "tokens" else rows)
    with pytest.raises(UserError, match="holds a part of the documents"):
        there.read("train", source, int(np.flatnonzero(~kept)[0]))
    other = stream.sources[1]
    np.testing.assert_array_equal(there.read("train", other, 0), stream.read("train", other, 0))
    packed, plain = (sum(path.stat().st_size for path in folder.rglob("*")) for folder in (tmp_path / "cut", stream.folder))
    assert packed < plain


def test_a_recipe_that_reads_ahead_keeps_the_whole_corpus(tiny):
    assert not reads_otherwise(tiny())
    assert reads_otherwise(tiny(start="scratch")) and reads_otherwise(tiny(evaluations=["bits-per-byte", "cloze"]))


def test_a_checkpoint_of_a_pack_stands_in_for_the_one_that_is_named(workshop, monkeypatch):
    monkeypatch.setenv(STANDING_IN, json.dumps({"owner/name": str(workshop.model)}))
    assert load("owner/name").config.model_type == load(workshop.model).config.model_type


@pytest.mark.parametrize(("text", "expected"), [("60MB", 60_000_000), ("1.5 GB", 1_500_000_000), ("7", 7), ("2k", 2000)])
def test_sizes_are_written_as_people_write_them(text, expected):
    assert size_of(text) == expected
    with pytest.raises(UserError, match="write it as 60MB"):
        size_of(f"{text} apples")


# The queue ------------------------------------------------------------------------------------------------------------------------


def packed(name: str, arms: int = 1, seeds: int = 2, cost: float = 1.0, **fields: Any) -> Packed:
    names = ["baseline", *(f"arm-{number}" for number in range(arms))]
    kept = {"recipes": {arm: {} for arm in names}, "streams": {}, "flops": dict.fromkeys(names, cost)}
    return Packed(**{"name": name, "seeds": list(range(seeds)), "least": seeds, **kept, **fields})


STUDIES = st.lists(
    st.tuples(st.integers(1, 3), st.integers(1, 4), st.floats(0.1, 9), st.booleans(), st.sampled_from([[1.0], [0.5, 1.0, 2.0]])),
    min_size=1,
    max_size=4,
)


@given(STUDIES)
@settings(max_examples=40, deadline=None)
def test_the_first_seed_of_all_comes_before_the_second_of_any_and_the_baseline_before_its_arms(drawn):
    studies = by_value(
        [packed(f"s{n}", arms, seeds, cost, decided=decided, curve=curve) for n, (arms, seeds, cost, decided, curve) in enumerate(drawn)]
    )
    slots = queue(studies)
    assert [slot.seed for slot in slots] == sorted(slot.seed for slot in slots)
    for study in studies:
        for seed in study.seeds:
            mine = [slot for slot in slots if (slot.study, slot.seed) == (study.name, seed)]
            assert [slot.arm == "baseline" for slot in mine] == sorted((slot.arm == "baseline" for slot in mine), reverse=True)
            assert mine[0].multiple == 1 and len(mine) == len(study.curve) + len(study.recipes) - 1
    assert [study.decided for study in studies] == sorted(study.decided for study in studies)


def test_trials_come_first_in_their_study_and_seeds_of_a_race_last():
    raced = packed("raced", seeds=4, least=2)
    tuned = packed("tuned", cost=2.0, tune={"knobs": {"clip": [1.0, 2.0]}, "share": 0.5})
    slots = queue(by_value([tuned, raced]))
    assert [slot.study for slot in slots[:2]] == ["raced"] * 2 and [slot.trial for slot in slots[2:6]] == [0, 1, 0, 1]
    assert {slot.seed for slot in slots[2:6]} == {1000} and slots[2].flops == 1.0
    assert [(slot.study, slot.seed) for slot in slots[-4:]] == [("raced", 2)] * 2 + [("raced", 3)] * 2
    few = queue([packed("few", seeds=3, curve=[0.5, 1.0], curve_seeds=1)])
    assert [(slot.multiple, slot.seed) for slot in few if slot.arm == "baseline"] == [(1.0, 0), (0.5, 0), (1.0, 1), (1.0, 2)]


# Several side by side -------------------------------------------------------------------------------------------------------------


def test_runs_are_added_while_all_together_get_faster():
    width = Width(most=8)
    for rate in (1.0, 1.9, 2.6, 2.65):
        width.measured(rate)
    assert (width.now, width.settled, sorted(width.rates)) == (3, True, [1, 2, 3, 4]), "the fourth brought 2 % and was taken back"
    width.out_of_memory(3)
    assert width.now == width.most == 2
    assert width.room(None, 1.0) and width.room(2.0, 1.0) and not width.room(1.1, 1.0)


def test_what_a_run_takes_is_told_by_what_flew():
    pace = Throughput()
    assert pace.seconds("a", "wide", 10) is None, "of the first nothing is known"
    pace.learn("a", "baseline", Flown(flops=10.0, seconds=5.0, begin=1.0))
    assert pace.seconds("a", "wide", 10) == 6.0
    pace.learn("b", "baseline", Flown(flops=10.0, seconds=10.0, begin=0.0))
    assert pace.seconds("a", "wide", 10) == 6.0 and pace.seconds("c", "x", 10) == 11.0, "where nothing alike flew, the slowest"


class Fake:
    """A machine on which a second passes for every look at it, and whose runs end when a script says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, slots: list[Slot], seconds: float, script: Any) -> None:
        self.now, self.script, self.began, self.stopped, self.most = 0.0, script, [], [], 0
        self.said: list[str] = []
        monkeypatch.setattr(flight_module.local, "WorkerPool", lambda plan: self)
        monkeypatch.setattr(flight_module.local, "listen", lambda pool, heard: self.listen(heard))
        monkeypatch.setattr(flight_module, "free_memory", lambda device: None)
        monkeypatch.setattr(flight_module, "seal", lambda *_: None)
        monkeypatch.setattr(flight_module, "finished_record", lambda folder: None)
        manifest = Manifest(formats=FORMATS, version="0", studies=[packed("s", arms=9)], queue=slots, files={})
        where = (manifest, tmp_path, Means(tmp_path), self.said.append, local.Workers(4, 1, ("cpu",)))
        self.flight = PackFlight(*where, until=seconds, grace=5.0, before=None, clock=lambda: self.now, window=2.0)
        self.flight.studies = {"s": self}  # type: ignore[dict-item]
        self.flying: dict[str, tuple[Job, float]] = {}

    # What the flight asks of a study
    pilots, packed = SimpleNamespace(variant=None), SimpleNamespace(sources=[])

    def entry(self, slot: Slot) -> Any:
        return SimpleNamespace(arm=slot.arm, seed=slot.seed, label=slot.arm)

    def flown(self, entry: Any) -> bool:
        return False

    def first(self, entry: Any) -> list[Any]:
        return []

    def place(self, entry: Any) -> str:
        return f"{entry.arm}/{entry.seed}"

    def job(self, entry: Any, slots: Any, needed_for: Any = None) -> Job:
        cost = next(slot.flops for slot in self.flight.manifest.queue if slot.arm == entry.arm)
        return Job(entry.arm, entry.seed, {}, None, self.place(entry), cost, {"study": "s", "arm": entry.arm})

    # What it asks of the workers
    def give(self, job: Job) -> int:
        self.began.append((self.now, job.folder))
        self.flying[job.folder] = (job, self.now)
        self.most = max(self.most, len(self.flying))
        return 0

    def stop(self, folder: str | None = None) -> None:
        self.stopped += [one for one in self.flying if folder in (None, one)]

    def dismiss(self, seconds: float) -> None:
        assert not self.flying, "what flew has been put down"

    def listen(self, heard: Any) -> None:
        self.now += 1.0
        for folder, (job, began) in list(self.flying.items()):
            outcome, share = self.script(self, job, self.now - began)
            heard("progress", job, {"done": share})
            outcome = "interrupted" if folder in self.stopped else outcome
            if outcome:
                del self.flying[folder]
                story = (
                    {"kind": "fault", "message": "OutOfMemoryError: CUDA out of memory. Tried to allocate"} if outcome == "failed" else None
                )
                heard(outcome, job, RunRecord(key=job.key, seed=job.seed, status=outcome, failure=story))


def slots_of(*costs: float) -> list[Slot]:
    return [Slot(study="s", arm=f"arm-{number}", seed=0, flops=cost) for number, cost in enumerate(costs)]


def at(rate: float) -> Any:
    """Every run does ``rate`` FLOPs a second, however many fly."""

    def script(fake: Fake, job: Job, seconds: float) -> Any:
        share = min(1.0, seconds * rate / job.cost)
        return ("finished" if share == 1 else None), share

    return script


def test_a_run_that_would_not_end_in_time_lets_a_shorter_one_go_first(monkeypatch, tmp_path):
    fake = Fake(monkeypatch, tmp_path, slots_of(10, 100, 10, 10), 60.0, at(1.0))
    fake.flight.width.settled, fake.flight.width.most = True, 1
    found = fake.flight.fly()
    assert [folder for _, folder in fake.began] == ["arm-0/0", "arm-2/0", "arm-3/0"], "what takes 100 s of 60 is not begun"
    assert found.waiting == 1 and fake.now < 60 and "1 left" in fake.said[-1]


def test_a_first_run_that_turns_out_too_long_makes_room(monkeypatch, tmp_path):
    fake = Fake(monkeypatch, tmp_path, slots_of(100, 10, 10), 40.0, at(1.0))
    fake.flight.width.settled, fake.flight.width.most = True, 1
    found = fake.flight.fly()
    assert [folder for _, folder in fake.began] == ["arm-0/0", "arm-1/0", "arm-2/0"] and fake.stopped == ["arm-0/0"]
    assert found.runs["runs/0"]["status"] in ("interrupted", "finished") and any("makes room" in line for line in fake.said)


def test_more_fly_side_by_side_as_long_as_it_pays(monkeypatch, tmp_path):
    def shared(fake: Fake, job: Job, seconds: float) -> Any:  # three of them fill the machine
        fake.progress = getattr(fake, "progress", {})
        done = fake.progress.get(job.folder, 0.0) + min(1.0, 3 / len(fake.flying)) / job.cost
        fake.progress[job.folder] = done
        return ("finished" if done >= 1 else None), min(1.0, done)

    fake = Fake(monkeypatch, tmp_path, slots_of(*[40.0] * 9), 1000.0, shared)
    found = fake.flight.fly()
    assert found.waiting == 0 and fake.most == 4 and fake.flight.width.now == 3, fake.flight.width
    assert found.side_by_side[2] > 1.8 * found.side_by_side[1]


def test_a_run_without_memory_is_tried_once_more_alone_and_stops_nothing(monkeypatch, tmp_path):
    beside: list[tuple[str, int]] = []

    def hungry(fake: Fake, job: Job, seconds: float) -> Any:
        if job.folder == "arm-1/0":
            beside.append((job.folder, len(fake.flying)))
            return "failed", 0.0
        return at(1.0)(fake, job, seconds)

    fake = Fake(monkeypatch, tmp_path, slots_of(10, 10, 10, 10), 1000.0, hungry)
    fake.flight.width.now, fake.flight.width.settled = 2, True
    found = fake.flight.fly()
    assert beside == [("arm-1/0", 2), ("arm-1/0", 1)], "once beside another, once alone"
    assert [folder for _, folder in fake.began] == ["arm-0/0", "arm-1/0", "arm-2/0", "arm-3/0", "arm-1/0"]
    assert fake.flight.width.most == 1 and found.waiting == 1
    assert any("tried once more, alone" in line for line in fake.said)


def test_when_the_time_is_over_what_flies_writes_a_checkpoint(monkeypatch, tmp_path):
    fake = Fake(monkeypatch, tmp_path, slots_of(100), 10.0, at(1.0))
    assert fake.flight.fly().waiting == 1 and set(fake.stopped) == {"arm-0/0"} and fake.now <= 12


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB", True),
        ("RuntimeError: DefaultCPUAllocator: can't allocate memory", True),
        ("the worker process died: killed by SIGKILL (often: out of memory)", True),
        ("ValueError: the wing came off", False),
    ],
)
def test_a_lack_of_memory_is_known_from_what_a_run_says(message, expected):
    record = RunRecord(key="k", seed=0, status="failed", failure={"kind": "fault", "message": message})
    assert ran_out(record) == expected


def test_a_pack_goes_on_where_it_was(pack, tmp_path, monkeypatch):
    def over(flight: PackFlight, begun: Any, done: float, now: float) -> None:
        flight.until, flight.grace = now, 60.0  # the time is over when a run first tells how far it is

    monkeypatch.setattr(PackFlight, "progress", over)
    kept: dict[str, Any] = {"minutes": 10, "workers": 1, "function": "study_fakes:wait_for_stop", "say": lambda line: None}
    first = fly_pack(pack, tmp_path, **kept)
    assert first.waiting == 3 and [run["status"] for run in first.runs.values()] == ["interrupted"], "its time was over"
    second = fly_pack(pack, tmp_path, **kept)
    assert second.waiting == 2 and [run["status"] for run in second.runs.values()] == ["finished", "interrupted"]
    assert read_results(tmp_path) == second.model_copy(update={"hash": read_results(tmp_path).hash})
