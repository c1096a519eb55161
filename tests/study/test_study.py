"""Studies: what a file means, what is flown, what survives, and what is said at the end."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import study_fakes
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from paths import ROOT, TESTS
from rich.console import Console

from windtunnel.core.asked import TOGETHER
from windtunnel.core.errors import UserError
from windtunnel.core.files import locked
from windtunnel.core.keys import Variant
from windtunnel.recipe import recipe_from
from windtunnel.study import fly as module
from windtunnel.study import visible
from windtunnel.study.fly import check_study, fly_study, load_study, plan, study_from, summary
from windtunnel.study.launch import local
from windtunnel.study.launch.local import Interrupted, Workers, counted_signals, fly_jobs, how_it_died
from windtunnel.study.launch.watch import Watch
from windtunnel.study.launch.worker import Job, perform
from windtunnel.study.plan import run_of
from windtunnel.study.tune import Tune, best, beyond, with_knobs
from windtunnel.train.record import read_record

RAW: dict[str, Any] = {
    "corpus": {"code": "builtin:stdlib"},
    "budget": {"flops": 1e9},
    "seeds": 3,
    "baseline": {"model": {"depth": 2, "width": 32, "heads": 2}, "context": 32, "batch": 4},
    "arms": {"wide": {"context": 64}, "same": {"batch": 5}},
}


def raw(**fields: Any) -> dict[str, Any]:
    return {**RAW, **fields}


def study(**fields: Any) -> module.StudyFile:
    return study_from(raw(**fields), name="example")


# Files --------------------------------------------------------------------------------------------------------------------------

FILE = """\
    corpus: {code: builtin:stdlib}
    budget: {flops: 1e12}
    seeds: 3
    baseline:
      model: {family: llama, depth: 2}
      schedule: {cosine: {warmup: 0.05}}
    arms:
      grown:
        phases:
          - {share: 0.25, model: {layers: 1}}
          - {share: 0.75, start: {stack: {factor: 2}}}
      wsd: {schedule: {wsd: {decay: 0.2}}}
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "flight.yaml"
    path.write_text(textwrap.dedent(text), encoding="utf-8")
    return path


def test_an_arm_inherits_what_it_does_not_set(tmp_path):
    found = load_study(write(tmp_path, FILE))
    assert found.name == "flight" and found.seeds == (0, 1, 2)
    base, wsd, grown = (found.resolved[name] for name in ("baseline", "wsd", "grown"))
    assert list(found.resolved) == ["baseline", "grown", "wsd"]
    assert wsd.phases[0].schedule.name == "wsd"
    assert wsd.model_copy(update={"phases": base.phases}) == base
    assert [phase.model.layers for phase in grown.phases] == [1, None]
    assert all(phase.model.depth == 2 and phase.schedule == base.phases[0].schedule for phase in grown.phases)
    assert grown.budget == base.budget


def test_sources_from_outside_take_the_place_of_the_corpus(tmp_path):
    found = load_study(write(tmp_path, FILE), {"notes": "some/folder"})
    assert {tuple(recipe.corpus) for recipe in found.resolved.values()} == {("notes",)}


@pytest.mark.parametrize(
    ("line", "change", "expected"),
    [
        (6, ("cosine:", "cosin:"), ["baseline.schedule", "did you mean 'cosine'"]),
        (12, ("wsd: {decay", "wsd: {decai"), ["arms.wsd", "did you mean 'decay'"]),
        (10, ("layers: 1", "layer: 1"), ["arms.grown", "did you mean 'layers'"]),
        (12, ("wsd: {schedule", "baseline: {schedule"), ["cannot be called baseline"]),
        (12, ("{schedule: {wsd: {decay: 0.2}}}", "{schedule: {cosine: {warmup: 0.05}}}"), ["arms.wsd", "same recipe as the baseline"]),
        (12, ("{schedule: {wsd: {decay: 0.2}}}", "{split: {test: 0.2}}"), ["arms.wsd.split", "tested on other text"]),
        (12, ("{schedule: {wsd: {decay: 0.2}}}", "{corpus: {code: elsewhere}}"), ["arms.wsd.corpus.code", "another name"]),
        (12, ("{schedule: {wsd: {decay: 0.2}}}", "{objective: masked-token}"), ["arms.wsd.objective", "masked_bits_per_byte of this arm"]),
        (12, ("{schedule: {wsd: {decay: 0.2}}}", "{budget: {flops: -1}}"), ["arms.wsd.budget.flops", "above 0"]),
        (3, ("seeds: 3", "seeds: 0"), ["seeds", "at least one seed"]),
        (3, ("seeds: 3", "sedes: 3"), ["did you mean 'seeds'"]),
        (3, ("seeds: 3", "seeds: many"), ["seeds: 'many' is neither a number of seeds"]),
        (3, ("seeds: 3", "context: 3"), ["belongs under baseline"]),
        (3, ("seeds: 3", "curve: [0.5, 2]"), ["curve", "1 must be among them"]),
        (3, ("seeds: 3", "tune: {optimizer.adamw.learning_rat: [0.1]}"), ["tune.optimizer", "optimizer.adamw.learning_rate"]),
        (3, ("seeds: 3", "tune: {optimiser.adamw.learning_rate: [0.1]}"), ["tune", "did you mean 'optimizer'"]),
        (3, ("seeds: 3", "tune: {schedule.cosine.warmup: [0.1]}"), ["wsd: the recipe has no knob schedule.cosine.warmup"]),
        (3, ("seeds: 3", "name: a/b"), ["name", "name of a folder"]),
    ],
)
def test_a_mistake_is_named_with_its_line(tmp_path, line, change, expected):
    text = textwrap.dedent(FILE)
    assert change[0] in text
    path = write(tmp_path, text.replace(*change))
    with pytest.raises(UserError) as caught:
        load_study(path)
    message = str(caught.value)
    assert f"{path}:{line}:" in message, message
    assert all(part in message for part in expected), message


def test_a_study_without_a_corpus_says_how_to_give_one(tmp_path):
    path = write(tmp_path, textwrap.dedent(FILE).replace("corpus: {code: builtin:stdlib}\n", ""))
    with pytest.raises(UserError, match="--corpus"):
        load_study(path)
    assert load_study(path, {"notes": "here"}).resolved["wsd"].corpus.keys() == {"notes"}


def test_the_example_study_is_valid():
    found = load_study(ROOT / "studies" / "first-flight.yaml")
    assert set(found.arms) == {"g-stack", "adamw"} and len(found.seeds) == 3
    first, second = found.resolved["g-stack"].phases
    assert (first.model.sizes().layers, first.model.sizes().width) == (2, 64) and second.model.sizes().layers == 4
    assert found.budget.tokens_per_parameter >= 4


def test_a_source_of_one_arm_is_tested_on_by_all_and_trained_on_by_that_arm_alone():
    found = study(arms={"more": {"corpus": {"notes": "somewhere"}}, "wide": {"context": 64}})
    corpora = {tuple(recipe.corpus) for recipe in found.resolved.values()}
    assert corpora == {("code", "notes")}
    assert found.resolved["more"].phases[0].sources is None
    assert found.resolved["baseline"].phases[0].sources == found.resolved["wide"].phases[0].sources == ("code",)
    assert any("notes" in note for note in found.notes)


def test_curators_that_decide_on_the_vocabulary_are_told_unless_it_is_given():
    half = {"half": {"curators": [{"fraction": {"share": 0.5}}]}}
    [told] = [note for note in study(arms=half).notes if "vocabulary" in note]
    assert told.startswith("Arm half: tokens are learnt") and "tokenizer: {recipe: NAME}" in told
    assert not any("vocabulary" in note for note in study(arms={"wide": {"context": 64}}).notes)
    whole = {"share": 0.1, "tokenizer": {"vocabulary": 512}}
    given = study(arms=half, recipes={"whole": whole}, baseline={**RAW["baseline"], "tokenizer": {"recipe": "whole"}})
    assert not any("vocabulary" in note for note in given.notes)


def test_an_arm_that_the_phases_of_the_baseline_hide_is_explained():
    base = {**RAW["baseline"], "phases": [{"share": 1.0, "clip": 0.5}]}
    with pytest.raises(UserError, match="write its own phases"):
        study(baseline=base, arms={"clip": {"clip": 0.7}})


def test_every_run_that_is_needed_is_planned_once():
    found = study(arms={"wide": {"context": 64}, "double": {"budget": {"flops": 2e9}}})
    entries = plan(found, found.resolved, dict.fromkeys(found.resolved, "f" * 20), Variant())
    assert [(entry.arm, entry.multiple) for entry in entries[::3]] == [
        ("baseline", 0.5),
        ("baseline", 1.0),
        ("baseline", 2.0),
        ("wide", 1.0),
        ("double", 1.0),
    ]
    assert [entry.seed for entry in entries[:3]] == [0, 1, 2]
    shared = {entry.folder for entry in entries if entry.arm == "double"} & {entry.folder for entry in entries if entry.multiple == 2.0}
    assert len(shared) == 3, "twice the budget is the baseline's own upper point, and is flown once"
    assert len({entry.folder for entry in entries}) == len(entries) - 3
    other = plan(found, found.resolved, dict.fromkeys(found.resolved, "e" * 20), Variant())
    assert not {entry.folder for entry in entries} & {entry.folder for entry in other}, "other text, other runs"


def test_the_curve_may_have_fewer_seeds_than_the_comparison():
    few = study(arms={"wide": {"context": 64}}, seeds=4, curve_seeds=2)
    entries = plan(few, few.resolved, dict.fromkeys(few.resolved, "f" * 20), Variant())
    flown = [(entry.multiple, entry.seed) for entry in entries if entry.arm == "baseline"]
    assert flown == [(0.5, 0), (0.5, 1), (1.0, 0), (1.0, 1), (1.0, 2), (1.0, 3), (2.0, 0), (2.0, 1)]
    assert sum(entry.arm == "wide" for entry in entries) == 4


# Tuning -------------------------------------------------------------------------------------------------------------------------


def test_a_knob_is_set_in_every_phase_that_has_it():
    recipe = recipe_from(
        {
            **RAW["baseline"],
            "corpus": RAW["corpus"],
            "budget": {"flops": 1e9},
            "phases": [{"share": 0.5}, {"share": 0.5, "optimizer": "muon"}],
        }
    )
    changed = with_knobs(recipe, {"optimizer.adamw.learning_rate": 0.25, "model.dropout": 0.1}, share=0.5)
    assert changed.phases[0].optimizer.learning_rate == 0.25
    assert changed.phases[1].optimizer == recipe.phases[1].optimizer
    assert [phase.model.dropout for phase in changed.phases] == [0.1, 0.1] and changed.budget.amount == 5e8
    both = with_knobs(recipe, {"optimizer.*.learning_rate": 0.25})
    assert [phase.optimizer.learning_rate for phase in both.phases] == [0.25, 0.25]
    assert with_knobs(recipe, {"batch": 4}).identity() == recipe.identity(), "the values it has already leave the recipe as it is"
    with pytest.raises(UserError, match=r"no knob optimizer.muon.momentun.*did you mean"):
        with_knobs(recipe, {"optimizer.muon.momentun": 1})
    with pytest.raises(UserError, match="cannot take clip: -1"):
        with_knobs(recipe, {"clip": -1})


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 20))
def test_trials_are_distinct_and_always_the_same(first, second, trials):
    tune = Tune.model_validate({"batch": list(range(1, first + 1)), "clip": [float(n + 1) for n in range(second)], "trials": trials})
    found = tune.combinations()
    assert len(found) == min(trials, first * second) == len({tuple(values.items()) for values in found})
    assert found == tune.combinations()
    assert tune.seed(range(2000)) == 2000 and tune.seed([0, 1]) not in (0, 1)


def test_a_trial_is_called_by_what_it_tries():
    one = run_of("baseline", 1.0, 1000, recipe_from({"corpus": {"code": "builtin:stdlib"}}), "", Variant())
    assert replace(one, tried={"optimizer.adamw.learning_rate": 0.003, "batch": 4}).label == "baseline with learning_rate 0.003, batch 4"


def test_one_seed_shows_no_difference():
    said = visible.told({"visible": None, "seeds": 1})
    assert said == "with one seed no difference can be told from the noise of seeds; two are the least"


def test_the_best_trial_is_the_one_that_validates_best():
    rows = [{"validation": 2.0}, {"validation": None}, {"validation": 1.0}, {"validation": 3.0}]
    assert best(rows, "lower") is rows[2] and best(rows, "higher") is rows[3]
    assert best([{"validation": None}], "lower") is None


# The launcher -------------------------------------------------------------------------------------------------------------------


def inline(jobs: list[Job], *, on_event: Any = None, **_: Any) -> dict[str, dict[str, Any]]:
    """What the launcher does, in this process and one after the other: starting workers takes seconds."""
    tell = on_event or (lambda *_: None)
    records = {}
    for one in jobs:
        tell("started", one, {})
        records[one.folder] = perform(
            one, threads=1, device="cpu", report=lambda news, one=one: tell("progress", one, news), stop=lambda: False
        )
        tell(records[one.folder]["status"], one, records[one.folder])
    return records


def job(folder: Path, function: str, seed: int = 0, cost: float = 1.0) -> Job:
    recipe = study().resolved["baseline"]
    return Job(
        recipe.key(seed, Variant()),
        seed,
        recipe.model_dump(mode="json"),
        None,
        str(folder / f"run-{seed}"),
        cost,
        {},
        f"study_fakes:{function}",
    )


def test_runs_share_warm_workers_and_one_that_breaks_or_dies_leaves_the_others_alone(tmp_path):
    jobs = [
        job(tmp_path, "measure", 0),
        job(tmp_path, "explode", 1, 9.0),
        job(tmp_path, "die", 2, 8.0),
        job(tmp_path, "measure", 3),
        job(tmp_path, "measure", 4),
    ]
    events: list[tuple[str, int]] = []
    records = fly_jobs(jobs, workers=1, threads=1, on_event=lambda what, one, _: events.append((what, one.seed)))
    by_seed = {one.seed: records[one.folder] for one in jobs}
    assert {seed: record["status"] for seed, record in by_seed.items()} == {
        0: "finished",
        1: "failed",
        2: "failed",
        3: "finished",
        4: "finished",
    }
    assert [seed for what, seed in events if what == "started"] == [1, 2, 0, 3, 4], "longest first"
    assert ("progress", 0) in events
    assert by_seed[1]["error"] == "ValueError: the wing came off" and "explode" in by_seed[1]["traceback"]
    assert "SIGKILL" in by_seed[2]["error"] and "last words" in by_seed[2]["traceback"]
    assert len({by_seed[seed].hardware["pid"] for seed in (0, 3, 4)}) == 1, "one worker flew them all"
    assert all(read_record(one.folder)["status"] == by_seed[one.seed]["status"] for one in jobs)
    again = inline([one for one in jobs if one.seed != 2])
    assert all(again[one.folder]["status"] == by_seed[one.seed]["status"] for one in jobs if one.seed != 2)
    assert [(Path(one.folder) / "flown").read_text() for one in jobs] == ["x", "xx", "x", "x", "x"], "only what failed is tried again"


def test_two_workers_fly_at_once_and_wait_for_a_run_that_another_process_is_flying(tmp_path):
    shared, *own = job(tmp_path, "measure", 0, 5.0), job(tmp_path, "meet", 1), job(tmp_path, "meet", 2)
    release = threading.Event()

    def heard(what: str, one: Job, details: dict[str, Any]) -> None:
        if what == "waiting":
            (Path(shared.folder) / "record.json").write_text(json.dumps({"status": "finished", "seed": 0, "key": "the other"}))
            release.set()

    def hold() -> None:
        with locked(Path(shared.folder) / ".lock") as mine:
            assert mine
            holding.set()
            release.wait(60)

    holding = threading.Event()
    thread = threading.Thread(target=hold)
    thread.start()
    holding.wait(60)
    records = fly_jobs([shared, *own], workers=2, threads=1, on_event=heard)
    thread.join()
    assert records[shared.folder].key == "the other" and not (Path(shared.folder) / "flown").exists()
    assert [records[one.folder]["status"] for one in own] == ["finished", "finished"], "each waits until the other is there"


SCRIPT = """
import sys
from pathlib import Path
sys.path[:0] = {paths!r}
from test_study import job
from windtunnel.study.launch.local import Interrupted, fly_jobs
if __name__ == "__main__":
    folder = Path(sys.argv[1])
    def heard(what, one, details):
        print(what, flush=True)
    try:
        fly_jobs([job(folder, "wait_for_stop", 0), job(folder, "wait_for_stop", 1)], workers=1, threads=1, on_event=heard)
    except Interrupted as error:
        print("told:", error, flush=True)
        sys.exit(130)
    print("done", flush=True)
"""


def test_ctrl_c_puts_the_runs_down_and_the_same_call_goes_on(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(paths=[str(TESTS), str(Path(__file__).parent)]))
    process = subprocess.Popen([sys.executable, script, tmp_path], stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdout is not None
    while "progress" not in process.stdout.readline():
        assert process.poll() is None
    os.killpg(process.pid, signal.SIGINT)  # on a terminal, Ctrl-C reaches parent and workers alike
    rest = process.communicate(timeout=120)[0]
    assert process.returncode == 130 and "give the same command to go on" in rest and "interrupted" in rest
    assert read_record(tmp_path / "run-0")["status"] == "interrupted"
    assert not (tmp_path / "run-1").exists(), "nothing new is begun"
    assert inline([job(tmp_path, "wait_for_stop", 0)]).popitem()[1]["status"] == "finished"


def test_both_signals_are_counted_and_handled_as_before_afterwards():
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with counted_signals() as heard:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        assert heard.count == 1, "`timeout` sends two signals at a time, and asks once"
        heard.first -= TOGETHER
        os.kill(os.getpid(), signal.SIGINT)
        assert heard.count == 2
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


def test_workers_do_not_outlive_a_killed_parent(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(paths=[str(TESTS), str(Path(__file__).parent)]))
    process = subprocess.Popen([sys.executable, script, tmp_path], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    while "progress" not in process.stdout.readline():
        assert process.poll() is None
    process.kill()
    process.wait()
    deadline = time.monotonic() + 60
    while True:  # the orphan notices, checkpoints, and lets go of the run
        with locked(tmp_path / "run-0" / ".lock") as mine:
            if mine and (read_record(tmp_path / "run-0") or {}).get("status") == "interrupted":
                return
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_deaths_are_told_in_words():
    assert how_it_died(3) == "exit code 3" and "SIGSEGV" in how_it_died(-11) and "out of memory" in how_it_died(-9)


def test_a_gpu_gets_as_many_pilots_as_its_memory_holds(monkeypatch):
    free = {0: 80e9, 1: 10e9, 2: 1e9}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free[device.index or 0], 80e9))
    every = local.workers_here(need=3e9)
    assert every.devices == ("cuda:0", "cuda:1", "cuda:2", "cuda:0", "cuda:1", "cuda:0", "cuda:0") and every.count == 7
    assert local.workers_here(need=30e9).devices == ("cuda:0", "cuda:1", "cuda:2", "cuda:0"), (
        "a pilot that may not fit is tried all the same"
    )
    chosen = local.workers_here(device="cuda:1, cuda:0", workers=3, need=3e9)
    assert [chosen.device(number) for number in range(chosen.count)] == ["cuda:1", "cuda:0", "cuda:1"]
    assert local.workers_here(device="cpu", workers=2).devices == ("cpu",)
    assert local.pilots_on(80e9, 0.0) == local.PILOTS_ON_A_GPU


def test_there_is_at_least_one_worker():
    with pytest.raises(UserError, match="workers"):
        fly_jobs([], workers=0)
    assert [Workers(4, 1, ("cuda:0", "cuda:1")).device(number) for number in range(3)] == ["cuda:0", "cuda:1", "cuda:0"]


# The table ----------------------------------------------------------------------------------------------------------------------


def shown(watch: Watch) -> str:
    console = Console(file=io.StringIO(), width=140)
    console.print(watch.table())
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_the_table_counts_runs_and_foretells_the_end(tmp_path, monkeypatch):
    now = 970.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    jobs = [job(tmp_path, "measure", seed, 100.0) for seed in range(4)]
    labels = {one.folder: ["baseline"] if one.seed < 2 else ["wide"] for one in jobs} | {"before": ["wide"]}
    watch = Watch("study", labels, jobs, 2, None)
    assert watch.seconds_left() is None and "measuring the pace" in shown(watch)
    for number, one in enumerate(jobs[:2]):
        watch.event("started", one, {"worker": number})
    now = 1000.0  # the workers took half a minute to start, which they do only once
    for one in jobs[:2]:
        watch.event("progress", one, {"done": 0.0, "step": 1, "loss": 2.5})
    now = 1010.0
    watch.event("finished", jobs[0], {"status": "finished"})
    watch.event("progress", jobs[1], {"done": 0.5, "step": 40, "loss": 2.25})
    # 150 of 400 FLOPs took 20 worker seconds; the other worker does both waiting runs, or one of them joins the half that is left
    assert watch.seconds_left() == pytest.approx((50 + 100) / (150 / 20))
    text = shown(watch)
    assert "2 of 5 runs done" in text and "seed 1: step 40, 50%, loss 2.250" in text and "1/2" in text and "1/3" in text
    for one in jobs[1:]:
        watch.event("failed", one, {"status": "failed", "error": "broken"})
    assert "about 0 s left" in shown(watch)


# Whole studies ------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def fly(stream, monkeypatch, tmp_path):
    """Fly a study with the stand-in for training, on a real stream, in this process."""
    monkeypatch.setattr(local, "fly_jobs", inline)
    monkeypatch.setattr("windtunnel.train.prepare.prepare", lambda recipe, cache, *more: stream)

    def call(found: module.StudyFile, **options: Any) -> dict[str, Any]:
        return fly_study(found, tmp_path / "out", workers=1, quiet=True, function="study_fakes:measure", **options)

    return call


def flown(out: Path) -> int:
    return sum(len(path.read_text()) for path in out.glob("runs/*/flown"))


def test_numbers_of_every_run_reach_the_loggers_of_a_study_by_a_name_that_can_be_read(fly, monkeypatch, tmp_path):
    with pytest.raises(UserError, match="did you mean 'tensorboard'"):
        fly(study(), loggers=["tensorbord"])
    assert not (tmp_path / "out").exists()
    monkeypatch.setitem(sys.modules, "trackio", SimpleNamespace())
    seen, measure = [], study_fakes.measure

    def watched(*given: Any, **how: Any) -> Any:
        seen.append((how.get("loggers"), how.get("name")))
        return measure(*given, **how)

    monkeypatch.setattr(study_fakes, "measure", watched)
    fly(study(seeds=[0, 3], curve=[1.0]), loggers=["trackio"])
    assert {kinds for kinds, _ in seen} == {("trackio",)}
    assert {"baseline, seed 0, 1 budgets", "baseline, seed 3, 1 budgets"} < {name for _, name in seen}


def test_the_folder_copied_to_another_machine_counts_as_flown(fly, tmp_path):
    found = study(seeds=2, curve=[1.0])
    before = fly(found).plain()
    shutil.copytree(tmp_path / "out", tmp_path / "elsewhere" / "results")
    shutil.rmtree(tmp_path / "out")
    result = fly_study(found, tmp_path / "elsewhere" / "results", workers=1, quiet=True, function="study_fakes:explode").plain()
    assert result["finished"] and result["arms"] == before["arms"], "nothing was flown again, though the folder is another"


def test_a_study_ends_in_verdicts_and_is_never_paid_for_twice(fly, tmp_path):
    found = study(
        arms={
            "wide": {"context": 64},
            "narrow": {"context": 16},
            "double": {"budget": {"flops": 2e9}},
            "broken": {"batch": 13},
        }
    )
    events: list[dict[str, Any]] = []
    result = fly(found, on_event=events.append)
    out = tmp_path / "out"
    assert result.plain() == json.loads((out / "studies" / "example" / "result.json").read_text())
    assert result["finished"] and result["error"] is None and result["format"] == 2
    arms = result["arms"]
    assert {name: arm["verdict"] for name, arm in arms.items()} == {
        "wide": "helps",
        "narrow": "hurts",
        "double": "helps",
        "broken": "failed",
    }
    assert arms["wide"]["test"]["difference"] == pytest.approx(-0.3, abs=0.02)
    assert arms["double"]["compute_gain"]["value"] == pytest.approx(2) and arms["double"]["budget_ratio"] == 2
    assert arms["narrow"]["compute_gain"]["value"] == pytest.approx(0.5, rel=0.05)
    assert arms["wide"]["wall_clock_ratio"] == 1 and arms["wide"]["parameters"] == 1000 and arms["wide"]["epochs"] == {"code": 0.5}
    number = arms["wide"]["numbers"]["bits_per_byte/code"]
    assert number["low"] < number["difference"] < number["high"] < 0
    assert [point["multiple"] for point in result["baseline"]["curve"]] == [0.5, 1, 2]
    assert [point["flops"] for point in result["baseline"]["curve"]] == [5e8, 1e9, 2e9]
    assert result["study"]["metric"] == "bits_per_byte" and result["study"]["seeds"] == 3
    statuses = {(run["arm"], run["status"]) for run in result["runs"]}
    assert ("broken", "failed") in statuses and len(result["runs"]) == 21
    assert any("wing came off" in (run["traceback"] or "") for run in result["runs"])
    assert result["samples"]["wide"] and result["stream"]["sizes"]["train"] and result["recipes"]["wide"]
    assert not list((out / "studies").rglob("report.*")), "the page is written by the command"
    assert {event["event"] for event in events} >= {"started", "finished", "failed"}
    before = flown(out)
    assert before == 18, "twice the budget is the upper point of the baseline's curve"
    again = fly(found)
    assert flown(out) == before + 3, "only the failed runs are tried again"
    assert again["arms"] == arms
    wider = study_from(raw(arms={"wide": {"context": 64}}, seeds=4), name="another")
    fly(wider)
    assert flown(out) == before + 3 + 4, "another study in the same folder pays only for the new seed"


def test_what_is_known_is_written_after_every_run(fly, tmp_path):
    path = tmp_path / "out" / "studies" / "example" / "result.json"
    seen = []

    def heard(event: dict[str, Any]) -> None:
        if event["event"] in ("started", "finished"):
            result = json.loads(path.read_text())
            seen.append((result["finished"], result["progress"]["finished"], result["arms"]["wide"]["verdict"]))

    fly(study(arms={"wide": {"context": 64}}, seeds=2), on_event=heard)
    assert [count for _, count, _ in seen] == sorted(count for _, count, _ in seen) and seen[-1][:2] == (True, 8)
    assert {verdict for finished, _, verdict in seen if not finished} <= {None, "helps"}
    assert seen[0] == (False, 0, None)


def test_a_finished_result_is_kept_when_the_study_flies_again(fly, tmp_path):
    folder = tmp_path / "out" / "studies" / "example"
    fly(study(arms={"wide": {"context": 64}}, seeds=2))
    finished = (folder / "result.json").read_text()
    fly(study(arms={"wide": {"context": 64}}, seeds=2))
    assert not (folder / "result-before.json").exists(), "nothing was flown, so nothing was replaced"
    fly(study(arms={"wide": {"context": 64}}, seeds=3))
    assert (folder / "result-before.json").read_text() == finished
    assert json.loads((folder / "result.json").read_text())["study"]["seeds"] == 3


def test_a_baseline_that_fails_throughout_is_an_error_that_says_why(fly):
    result = fly(study(baseline={**RAW["baseline"], "batch": 13}, arms={"well": {"batch": 4}}, seeds=2))
    assert "every run of the baseline failed" in result["error"] and "the wing came off" in result["error"]
    assert result["finished"] and result["arms"]["well"]["verdict"] == "undecided"


def test_tuning_gives_every_arm_the_same_trials_and_reports_what_they_cost(fly, tmp_path):
    found = study(arms={"wide": {"context": 64}}, tune={"clip": [1.0, 2.0, 8.0], "share": 0.5}, seeds=2)
    result = fly(found)
    tuning = result["tuning"]
    assert tuning["seed"] not in found.seeds
    for arm in ("baseline", "wide"):
        assert [row["values"]["clip"] for row in tuning["arms"][arm]["trials"]] == [1.0, 2.0, 8.0]
        assert tuning["arms"][arm]["chosen"] == {"clip": 2.0} and tuning["arms"][arm]["flops"] == 1.5e9
        assert result["recipes"][arm]["phases"][0]["clip"] == 2.0 and result["recipes"][arm]["budget"]["flops"] == 1e9
    assert flown(tmp_path / "out") == 6 + 8
    costs = check_study(found, tmp_path / "out", workers=1, timed=False)
    assert (costs["runs"], costs["cached"]) == (0, 6 + 8), "what was chosen is known, so nothing is left to fly"
    other = study(arms={"wide": {"context": 64}}, tune={"clip": [1.0, 2.0, 16.0], "share": 0.5}, seeds=2)
    costs = check_study(other, tmp_path / "out", workers=1, timed=False)
    assert (costs["runs"], costs["cached"]) == (2 + 8, 4), "other knobs may choose otherwise"


def test_a_grid_whose_best_lies_at_an_end_is_widened_for_baseline_and_arms_alike(fly):
    tune = {"clip": [8.0, 16.0, 32.0], "share": 0.5, "widen": 3}
    tuning = fly(study(arms={"wide": {"context": 64}}, tune=tune, seeds=1, curve=[1]))["tuning"]
    for arm in ("baseline", "wide"):
        assert [row["values"]["clip"] for row in tuning["arms"][arm]["trials"]] == [8.0, 16.0, 32.0, 4.0, 2.0, 1.0]
        assert tuning["arms"][arm]["chosen"] == {"clip": 2.0}


def test_what_lies_beyond_an_end():
    def trials(*values: float | None) -> list[dict[str, Any]]:
        return [{"values": {"rate": 10.0**place}, "validation": value} for place, value in enumerate(values)]

    knobs = {"rate": [1.0, 10.0, 100.0]}
    assert beyond(knobs, trials(3, 2, 1), "lower") == {"rate": 1000.0} and beyond(knobs, trials(3, 2, 1), "higher") == {"rate": 0.1}
    assert beyond(knobs, trials(3, 2, 1, None), "lower") is None  # one further has failed
    assert beyond(knobs, trials(2, 1, 2), "lower") is None and beyond(knobs, trials(None, None, None), "lower") is None
    assert (
        beyond({"rate": [1.0, 10.0]}, trials(2, 1), "lower") is None and beyond({"rate": [0.0, 1.0, 2.0]}, trials(3, 2, 1), "lower") is None
    )


def test_an_arm_whose_tuning_fails_is_shown_and_leaves_the_others_alone(fly):
    result = fly(study(arms={"wide": {"context": 64}, "broken": {"batch": 13}}, tune={"clip": [1.0, 2.0]}, seeds=2))
    assert result["arms"]["broken"]["verdict"] == "failed" and result["arms"]["wide"]["verdict"] in ("helps", "undecided")
    assert any("trial" in (run["traceback"] or "") for run in result["runs"] if run["arm"] == "broken")
    assert result["finished"]


def test_two_processes_cannot_fly_the_same_study(fly, tmp_path):
    with locked(tmp_path / "out" / "studies" / "example" / ".lock") as mine:
        assert mine
        with pytest.raises(UserError, match=rf"is being flown .* by process {os.getpid()}"):
            fly(study())


def test_a_budget_below_one_step_is_refused_before_anything_flies(fly, tmp_path):
    phases = [{"share": 0.01, "model": {"layers": 1}}, {"share": 0.99, "start": {"stack": {"factor": 2}}}]
    with pytest.raises(UserError, match=r"arm grown: phase 1 .* of one step"):
        fly(study(arms={"grown": {"phases": phases}}))
    with pytest.raises(UserError, match=r"the baseline at 0.5 budgets: .* of one step"):
        fly(study(budget={"flops": 1e8}))
    assert not flown(tmp_path / "out")


def test_an_output_folder_that_cannot_be_one_is_a_user_error(tmp_path):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(UserError, match=str(tmp_path / "out")):
        fly_study(study(), tmp_path / "out", quiet=True)
    with pytest.raises(UserError, match="no engine is called 'rai'"):
        fly_study(study(), tmp_path / "other", engine="rai")


def test_an_arm_whose_text_cannot_be_prepared_leaves_the_others_alone(fly, stream, monkeypatch):
    def prepare(recipe: Any, cache: Path, *more: Any) -> Any:
        if recipe.encoding.vocabulary == 600:
            raise RuntimeError("the tokenizer tripped")
        return stream

    monkeypatch.setattr("windtunnel.train.prepare.prepare", prepare)
    result = fly(study(arms={"wide": {"context": 64}, "odd": {"tokenizer": {"vocabulary": 600}}}, seeds=2))
    assert result["arms"]["odd"]["verdict"] == "failed" and result["arms"]["wide"]["seeds"] == 2
    assert any("tripped" in run["traceback"] for run in result["runs"] if run["arm"] == "odd")


def test_a_check_costs_the_study_without_flying_it(fly, tmp_path):
    found = study(arms={"wide": {"context": 64}}, tune=None)
    before = check_study(found, tmp_path / "out", workers=1, timed=False)
    assert (before["runs"], before["cached"], before["trials"]) == (12, 0, 0)
    assert before["flops"] == pytest.approx(3 * 4.5e9) and before["seconds"] is None and before["epochs"] is None
    assert not (tmp_path / "out").exists()
    fly(found)
    after = check_study(found, tmp_path / "out", workers=1, timed=False)
    assert (after["runs"], after["cached"], after["flops"]) == (0, 12, 0)
    assert after["epochs"]["wide"]["code"] >= 0
    tuned = check_study(study(tune={"clip": [1.0, 2.0]}), workers=1, timed=False)
    assert tuned["trials"] == 6 and tuned["runs"] == 6 + 15
    assert any("trials" in line for line in summary(tuned))


def test_real_training_ends_in_a_result(corpus, tmp_path):
    small = {
        "tokenizer": {"vocabulary": 512, "sentinels": 16},
        "split": {"validation": 0.1, "test": 0.1},
        "model": {"depth": 2, "width": 32, "heads": 2},
    }
    cheap = {"context": 32, "batch": 4, "evaluate_every": 0.5, "evaluation_tokens": 256, "test_tokens": 512, "precision": "float32"}
    found = study_from(
        {
            "corpus": corpus,
            "budget": {"steps": 4},
            "seeds": 2,
            "curve": [1],
            "baseline": {**small, **cheap},
            "arms": {"wsd": {"schedule": "wsd"}},
        },
        name="real",
    )
    result = fly_study(found, tmp_path, workers=1, quiet=True)
    assert result["finished"], result
    assert [run["status"] for run in result["runs"]] == ["finished"] * 4, [run["traceback"] for run in result["runs"]]
    assert result["arms"]["wsd"]["verdict"] in ("helps", "hurts", "undecided", "no difference")
    assert set(result["arms"]["wsd"]["numbers"]) == {"bits_per_byte/code", "bits_per_byte/prose"}
    assert result["arms"]["wsd"]["wall_clock_ratio"] > 0 and result["arms"]["wsd"]["cpu_ratio"] > 0
    assert result["hardware"] and result["versions"]


def test_an_interrupted_study_says_how_to_go_on(fly, monkeypatch):
    monkeypatch.setattr(local, "fly_jobs", lambda *_, **__: (_ for _ in ()).throw(Interrupted("2 of 6 runs finished")))
    with pytest.raises(KeyboardInterrupt, match="same command"):
        fly(study())


# Ray ----------------------------------------------------------------------------------------------------------------------------


def test_the_same_jobs_fly_as_ray_tasks(fly, tmp_path, monkeypatch):
    pytest.importorskip("ray")
    import ray

    from windtunnel.study.launch import ray as ray_engine

    monkeypatch.setenv("PYTHONPATH", str(TESTS))
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    ray.init(num_cpus=2, address="local", include_dashboard=False, log_to_driver=False, logging_level="error")
    try:
        jobs = [job(tmp_path, "meet", 0), job(tmp_path, "meet", 1), job(tmp_path / "more", "explode", 2), job(tmp_path / "more", "die", 3)]
        events: list[str] = []
        records = ray_engine.fly_jobs_on_ray(jobs, threads=1, on_event=lambda what, *_: events.append(what))
        assert [records[one.folder]["status"] for one in jobs] == ["finished", "finished", "failed", "failed"], records
        assert len({records[one.folder].hardware["pid"] for one in jobs[:2]}) == 2, "two workers at the same time"
        assert "wing came off" in records[jobs[2].folder]["traceback"] and "Ray worker died" in records[jobs[3].folder]["error"]
        assert events.count("finished") == 2 and "started" in events
        result = fly(study(arms={"wide": {"context": 64}}, seeds=2), engine="ray")
        assert result["finished"] and result["progress"]["finished"] == 8
    finally:
        ray.shutdown()


def test_an_objective_without_its_sentinels_is_refused_before_anything_flies():
    baseline = {**RAW["baseline"], "objective": "ul2", "tokenizer": {"vocabulary": 512, "sentinels": 2}}
    with pytest.raises(UserError, match=r"the baseline at 0\.5 budgets: phase 1: .*set tokenizer\.sentinels to at least"):
        check_study(study(baseline=baseline), timed=False)
