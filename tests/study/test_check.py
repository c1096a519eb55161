"""What `check` says of data and of time, before anything is flown."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from windtunnel.core.errors import SourceError, UserError
from windtunnel.core.keys import Variant
from windtunnel.data.corpus.glance import Glance, enlarge
from windtunnel.parts.source.files import Files
from windtunnel.recipe import Budget, recipe_from
from windtunnel.study.check import check_study
from windtunnel.study.check_sentences import figures, summary
from windtunnel.study.entry import Entry
from windtunnel.study.file import study_from
from windtunnel.study.plan import plan
from windtunnel.study.visible import noise_of, smallest_visible
from windtunnel.train.pace import Pace, same_pace, trip
from windtunnel.train.prepare import prepare
from windtunnel.train.record import RunRecord, Totals, write_record

BASE = {
    "tokenizer": {"vocabulary": 400},
    "model": {"layers": 1, "width": 16},
    "context": 16,
    "batch": 2,
    "precision": "float32",
    "split": {"validation": 0.2, "test": 0.2},
}


def prose(number: int) -> str:
    return " ".join(f"the {word} of document {number} is {word * number % 97}" for word in range(3, 30))


def texts(folder: Path, count: int = 40) -> Path:
    folder.mkdir(exist_ok=True)
    for number in range(count):
        (folder / f"{number:03d}.txt").write_text(prose(number), encoding="utf-8")
    return folder


def study(path: Path, **more: Any) -> Any:
    raw = {
        "corpus": {"notes": str(path)},
        "budget": {"tokens": 400},
        "seeds": 2,
        "baseline": BASE,
        "arms": {"flat": {"schedule": "constant"}},
    }
    return study_from({**raw, **more}, name="small")


def test_check_opens_the_corpus_and_times_the_steps(tmp_path):
    found = check_study(study(texts(tmp_path / "notes")), tmp_path / "out", workers=1)
    notes = found["sources"]["notes"]
    assert notes["documents"] == 40 and not notes["estimated"] and notes["bytes"] == sum(len(prose(number)) for number in range(40))
    assert notes["example"].startswith("the 3 of document 0 is 0")
    assert found["cpu_seconds"] > found["preparing"] > 0 and found["seconds"] > 0
    flat = found["arms"]["flat"]
    assert flat["steps"] == pytest.approx(400 / 32) and flat["memory_bytes"] > 0 and found["epochs"]["flat"]["notes"] > 0
    said = "\n".join(summary(found))
    assert "notes: 40 documents" in said and "begins: the 3 of document 0" in said and "per parameter" in said
    assert not (tmp_path / "out").exists(), "check writes nothing"


def test_epochs_of_rows_are_counted_in_rows():
    """An encoding counts the bytes of a row in its own way; how often the source is read has nothing to do with it."""
    base = {
        "split": {"validation": 0.15, "test": 0.3, "near_duplicates": 1.0},
        "encoding": "rows",
        "model": {"family": "cells", "layers": 1, "width": 16, "heads": 2},
        "objective": "classify-rows",
        "evaluations": "labels",
        "context": 4,
        "batch": 4,
        "precision": "float32",
    }
    raw = {"corpus": {"tumours": {"bundled-table": "breast_cancer"}}, "budget": {"flops": 1e9}, "seeds": 2, "baseline": base}
    found = check_study(study_from({**raw, "arms": {"flat": {"schedule": "constant"}}}, name="rows"), workers=1)
    for arm, each in found["arms"].items():
        assert found["epochs"][arm]["tumours"] == pytest.approx(each["steps"] * 16 / (0.55 * 569), rel=0.02)
    (told,) = (line for line in summary({**found, "epochs": {arm: {"tumours": 2.0} for arm in found["arms"]}}) if "tumours 2 times" in line)
    assert told.startswith("baseline, flat read")
    hint = "prepare text of which no run reads more than 5.0%: `--corpus 'NAME={files: {path: ..., sample: 20MB}}'`"
    once = {arm: {"tumours": 0.05} for arm in found["arms"]}
    assert hint in "\n".join(summary({**found, "epochs": once, "reading": found["cpu_seconds"]}))
    assert hint not in "\n".join(summary({**found, "epochs": once, "reading": 0.1 * found["cpu_seconds"]}))
    # What a process takes to start and to draw the report prepares no text.
    assert 0 < found["reading"] < found["preparing"]
    assert hint not in "\n".join(summary({**found, "epochs": once, "preparing": found["cpu_seconds"], "reading": 0.0}))


def test_what_cannot_be_read_is_told_as_flying_would(tmp_path):
    table = tmp_path / "records.jsonl"
    table.write_text("".join(json.dumps({"said": {"by": "user", "words": prose(number)}}) + "\n" for number in range(30)))
    with pytest.raises(UserError, match="notes"):
        check_study(study(table))
    (tmp_path / "table.csv").write_text("subject,body\n" + "".join(f"one,{prose(number)}\n" for number in range(30)))
    with pytest.raises(UserError, match="text"):
        check_study(study(tmp_path / "table.csv"))
    (tmp_path / "paper.pdf").write_bytes(b"%PDF-1.4\n\x00\xff\xfe binary")
    with pytest.raises(UserError, match=r"paper\.pdf"):
        check_study(study(tmp_path / "paper.pdf"))
    with pytest.raises(UserError, match="Add documents"):
        check_study(study(texts(tmp_path / "few", count=2)))


def test_what_more_of_the_text_cannot_mend_is_told_at_once(tmp_path, monkeypatch):
    """A table without text, and few documents of which none is tested, beside a large source: nothing more of that is read."""
    from windtunnel.data.corpus import glance

    monkeypatch.setattr(glance, "DOCUMENTS", 30)
    monkeypatch.setattr(glance, "BYTES", 1)
    more: list[str] = []
    monkeypatch.setattr(Glance, "more", lambda self: more.append(self.name))
    large, few = texts(tmp_path / "large"), texts(tmp_path / "few", count=2)
    (tmp_path / "table.csv").write_text("subject,body\n" + "".join(f"one,{prose(number)}\n" for number in range(100)))
    for name, path in (("few", few), ("table", tmp_path / "table.csv")):
        with pytest.raises(SourceError, match=name):
            check_study(study(large, corpus={"large": str(large), name: str(path)}), workers=1)
    assert more == []


def test_a_glance_reads_the_beginning_and_more_where_that_is_too_little(tmp_path, monkeypatch):
    from windtunnel.data.corpus import glance

    monkeypatch.setattr(glance, "DOCUMENTS", 3)
    monkeypatch.setattr(glance, "BYTES", 1)
    one = Glance("notes", Files(path=str(texts(tmp_path / "notes"))))
    assert one.rows == 3 and not one.whole
    assert enlarge([one]) and one.rows == 24
    about = one.about()
    whole = sum(len(prose(number)) for number in range(40))
    assert about["estimated"] == "about" and about["bytes"] == whole and about["documents"] == pytest.approx(40, rel=0.1)
    assert enlarge([one]) and one.whole and one.rows == 40 and not enlarge([one])


def test_a_folder_has_no_more_documents_than_files(tmp_path, monkeypatch):
    """The first files of the kernel's documentation are small, and 15,427 files were told to be 65,457 documents."""
    from windtunnel.data.corpus import glance

    monkeypatch.setattr(glance, "DOCUMENTS", 3)
    monkeypatch.setattr(glance, "BYTES", 1)
    folder = texts(tmp_path / "notes")
    (folder / "zz.txt").write_text("a long one, " * 9999)
    number = len(list(folder.iterdir()))
    assert Glance("notes", Files(path=str(folder))).about()["documents"] == number
    (folder / "a.jsonl").write_text("".join(json.dumps({"text": prose(number)}) + "\n" for number in range(9)))
    assert Glance("notes", Files(path=str(folder))).about()["documents"] > number, "records of a file are not counted by files"


def test_finished_runs_teach_what_they_really_take(tmp_path):
    """The CPU seconds of their records decide, not the clock, which other processes slow down."""
    file, out = study(texts(tmp_path / "notes")), tmp_path / "out"
    before = check_study(file, out, workers=1)
    for entry in plan(file, dict(file.resolved), dict.fromkeys(file.resolved, ""), file.resolved["baseline"].variant(Variant()))[:2]:
        folder = out / entry.folder
        folder.mkdir(parents=True)
        write_record(folder, RunRecord(key=entry.key, seed=entry.seed, status="finished", cpu_seconds=1000.0, totals=Totals(seconds=1.0)))
    after = check_study(file, out, workers=1)
    assert before["learned"] is None and after["learned"]["runs"] == after["cached"] == 2 and after["runs"] == before["runs"] - 2
    assert after["cpu_seconds"] - after["preparing"] == pytest.approx(1000.0 * after["runs"], rel=0.7)


def test_runs_on_sources_that_have_changed_since_are_to_be_flown_again(tmp_path):
    file, out, notes = study(texts(tmp_path / "notes")), tmp_path / "out", tmp_path / "notes"
    stream = prepare(file.resolved["baseline"], out / "cache")
    data = dict.fromkeys(file.resolved, stream.fingerprint)
    for entry in plan(file, dict(file.resolved), data, file.resolved["baseline"].variant(Variant()))[:2]:
        (out / entry.folder).mkdir(parents=True)
        write_record(out / entry.folder, RunRecord(key=entry.key, seed=entry.seed, status="finished"))
    same = check_study(file, out, workers=1, timed=False)
    assert (same["cached"], same["changed"]) == (2, 0)
    (notes / "one-more.txt").write_text("a document that came later, " * 40)
    after = check_study(file, out, workers=1, timed=False)
    assert (after["cached"], after["changed"], after["runs"]) == (0, 2, same["runs"] + 2)
    assert "2 runs of them finished before the sources changed, and fly again" in "\n".join(summary(after))
    shutil.rmtree(out / "cache")
    assert check_study(file, out, workers=1, timed=False)["cached"] == 2, "nothing is left that could tell"


def test_what_tuning_tries_is_timed_too(tmp_path):
    found = check_study(study(texts(tmp_path / "notes"), arms={}, curve=[1.0], tune={"batch": [2, 4], "share": 0.5}), workers=1)
    assert found["trials"] == 2 and found["runs"] == 4 and found["cpu_seconds"] > found["preparing"]


def test_runs_at_other_rates_take_what_those_at_their_own_take(tmp_path):
    found = check_study(study(texts(tmp_path / "notes"), curve=[1.0], rates=[0.5, 2]), workers=1)
    assert found["runs"] == 4 + 8 and found["cpu_seconds"] > found["preparing"]


def test_steps_too_heavy_to_be_timed_are_reckoned(tmp_path, monkeypatch):
    from windtunnel.study import look as module

    monkeypatch.setattr(module, "HEAVY", 0.0)
    monkeypatch.setattr(module, "pace_of", None)  # it would not be heavy
    monkeypatch.setattr(module, "first_time", None)
    file = study(texts(tmp_path / "notes"))
    seen = module.look([*file.resolved.values()], torch.device("cpu"), Variant(), just_begun=True)
    assert seen.facts.size == 400 and all(one.step > 0 for one in seen.paces.values())


def test_a_rate_at_which_nothing_trains_is_refused(tmp_path):
    wild = study(texts(tmp_path / "notes"), baseline={**BASE, "rate_multiple": float("inf")})
    with pytest.raises(UserError, match=r"the optimizer adamw goes wrong in its first 3 steps.* lower its learning rate"):
        check_study(wild, workers=1)


def test_each_stage_hires_its_own_workers(tmp_path, monkeypatch):
    from windtunnel.study import check as module
    from windtunnel.study.look import Survey

    teacher = {"distillation": {"teacher": {"recipe": {"model": {"layers": 1, "width": 8}, "share": 0.3}}}}
    plain, taught = (study(texts(tmp_path / "notes"), arms={"one": one}) for one in ({"schedule": "constant"}, {"losses": [teacher]}))
    paces = {same_pace(one, phase): pace(1e-6) for file in (plain, taught) for one in file.resolved.values() for phase in one.phases}
    held = next(iter(taught.resolved["one"].phases[0].losses[0].trained().values())).recipe
    paces |= {same_pace(held, phase): pace(1e-6) for phase in held.phases}
    monkeypatch.setattr(module, "_look", lambda *_: Survey({}, {}, None, paces, 0.0, 100.0))
    once, twice = (check_study(file, tmp_path / "out", workers=2)["cpu_seconds"] for file in (plain, taught))
    assert once == pytest.approx(160 + 200, abs=10) and twice == pytest.approx(160 + 400, abs=10)


def pace(step: float, **more: float) -> Pace:
    values = {"open": 0.0, "flops": 1e6, "tokens": 32.0, "judged": 0.0, "told": 0.0, "parameters": 1e3, "memory": 1e6}
    return Pace(step=step, **{**values, **more})


def test_how_long_a_run_is_whose_vocabulary_is_taken_changes_no_pace(tmp_path):
    """A study is timed before it is sized, and both meet in the same pace."""
    file = study(texts(tmp_path / "notes"), recipes={"base": {"share": 0.5}}, arms={"one": {"tokenizer": {"recipe": "base"}}})
    before = file.resolved["one"]
    base = before.encoding.recipe
    after = before.encoding.model_copy(update={"recipe": base.model_copy(update={"budget": Budget(flops=9e9)})})
    sized = before.model_copy(update={"encoding": after})
    assert base is not None and same_pace(before, before.phases[0]) == same_pace(sized, sized.phases[0])
    smaller = before.model_copy(update={"encoding": before.encoding.model_copy(update={"vocabulary": 700})})
    assert same_pace(before, before.phases[0]) != same_pace(smaller, smaller.phases[0])


def test_a_trip_counts_phases_teachers_and_evaluation(tmp_path):
    phases = [{"share": 0.5, "model": {"layers": 1}}, {"share": 0.5, "start": {"stack": {"factor": 2}}}]
    grown = recipe_from(
        {"corpus": {"a": str(tmp_path)}, "budget": {"steps": 20}, **BASE, "model": {"layers": 2, "width": 16}, "phases": phases}
    )
    paces = {same_pace(grown, grown.phases[0]): pace(1.0, open=3.0), same_pace(grown, grown.phases[1]): pace(2.0, judged=0.01)}
    one = trip(grown, paces, {"a": 1000.0})
    assert one.training == pytest.approx(10 * 1.0 + 10 * 2.0) and one.steps == 20
    assert one.seconds == pytest.approx(one.training + 3.0 + 0.01 * 6 * 1000, abs=0.5), "five evaluations and a test, of all 1000 tokens"
    timed = grown.model_copy(update={"budget": Budget(seconds=6.0)})
    assert trip(timed, paces, {}, threads=2).training == pytest.approx(12.0), "CPU seconds pass two at a time on two threads"
    teacher = {"distillation": {"teacher": {"recipe": {"model": {"layers": 2}, "share": 0.5}}}}
    taught = recipe_from({"corpus": {"a": str(tmp_path)}, "budget": {"flops": 100e6}, **BASE, "losses": [teacher]})
    held = next(iter(taught.phases[0].losses[0].trained().values())).recipe
    paces = {same_pace(taught, taught.phases[0]): pace(1.0), same_pace(held, held.phases[0]): pace(1.0, judged=0.01)}
    found = trip(taught, paces, {})
    steps = 50e6 / (1e6 + 1e6 / 3)
    assert found.steps == pytest.approx(steps) and found.training == pytest.approx(steps * (1 + 0.01 * 32))


def test_the_pace_of_an_arm_with_another_vocabulary_is_its_own(tmp_path):
    small, large = (
        recipe_from({"corpus": {"a": str(tmp_path)}, "budget": {"flops": 1e8}, **BASE, **own})
        for own in ({"tokenizer": {"vocabulary": 512}}, {"tokenizer": {"vocabulary": 4096}})
    )
    assert same_pace(small, small.phases[0]) != same_pace(large, large.phases[0])
    paces = {same_pace(small, small.phases[0]): pace(1.0), same_pace(large, large.phases[0]): pace(2.0, flops=2e6)}
    assert trip(large, paces, {}).steps == trip(small, paces, {}).steps / 2


def test_what_would_be_seen_shrinks_with_seeds_and_grows_with_noise():
    few, many = (smallest_visible(0.01, seeds, 0.95) for seeds in (3, 12))
    assert few is not None and many is not None and few > 2 * many and smallest_visible(0.01, 1, 0.95) is None
    assert smallest_visible(0.02, 12, 0.95) == pytest.approx(2 * many)
    random = np.random.default_rng(0)
    pairs = random.normal(many, 0.01, (4000, 12))
    half = stats.t.ppf(0.975, 11) * pairs.std(axis=1, ddof=1) / 12**0.5
    assert 0.75 < (pairs.mean(axis=1) > half).mean() < 0.85, "four studies in five"


def test_noise_is_that_of_the_differences_of_finished_runs():
    def run(arm: str, seed: int, value: float) -> Any:
        entry = Entry(arm, 1.0, seed, None, "key", "folder")
        return entry, RunRecord(key="key", seed=seed, status="finished", test={"bits": value}, primary="bits")

    flown = [run("baseline", seed, 2.0 + seed) for seed in range(3)]
    assert noise_of(flown) is None
    apart = [run("arm", seed, (2.0 + seed) * (1.1 + 0.01 * seed)) for seed in range(3)]
    found = noise_of([*flown, *apart])
    assert found is not None and found.share == pytest.approx(0.01) and found.freedom == 2


@pytest.mark.parametrize(("number", "many", "shown"), [(0.123, 2, "0.12"), (180.4, 2, "180"), (2550.0, 3, "2,550"), (3e26, 2, "3e+26")])
def test_figures_are_written_without_exponents_where_people_would(number, many, shown):
    assert figures(number, many) == shown
