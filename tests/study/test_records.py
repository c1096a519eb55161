"""Records of finished runs count as flown without their weights; who needs the weights flies that run and no other."""

import json
import shutil
import uuid
from pathlib import Path
from typing import Any

import pytest
from test_study import flown, fly, raw  # noqa: F401 (fly is a fixture)

from windtunnel.core.errors import UserError
from windtunnel.core.keys import Variant
from windtunnel.recipe import recipe_from
from windtunnel.study.check import check_study
from windtunnel.study.file import study_from
from windtunnel.study.plan import run_of
from windtunnel.study.records import agrees, committed, folders_of, known, of_several_machines, save
from windtunnel.train.record import RunRecord

ARMS: dict[str, Any] = {"wide": {"context": 64}, "grown": {"start": {"trained": {"model": {"recipe": "base"}}}}}


def study(arms: dict[str, Any] = ARMS, name: str = "example") -> Any:
    return study_from(raw(arms=arms, recipes={"base": {"share": 0.2}}, curve=[1.0], seeds=2), name=name)


def test_a_study_whose_records_were_kept_has_its_verdict_without_flying(fly, tmp_path):  # noqa: F811
    out, kept = tmp_path / "out", tmp_path / "kept"
    first = fly(study(), save_records=kept)
    assert flown(out) == 8 and len(list(kept.iterdir())) == 8, "two seeds of three arms, and of the model that one needs"
    assert all(path.stat().st_size < 10_000 for path in kept.iterdir())
    shutil.rmtree(out / "runs")
    events: list[str] = []
    again = fly(study(), records=[kept], on_event=lambda told: events.append(told["event"]))
    assert flown(out) == 0 and "started" not in events
    assert again["arms"] == first["arms"] and again["baseline"] == first["baseline"] and again["arms"]["wide"]["verdict"]


def test_only_what_needs_weights_is_flown_again(fly, tmp_path):  # noqa: F811
    out, kept = tmp_path / "out", tmp_path / "kept"
    fly(study(), save_records=kept)
    shutil.rmtree(out / "runs")
    later = {**ARMS, "faster": {**ARMS["grown"], "schedule": "wsd"}}
    result = fly(study(later), records=[kept])
    marks = {json.loads((path.parent / "record.json").read_text())["key"] for path in out.glob("runs/*/flown")}
    new = {run["key"] for run in result["runs"] if run["arm"] == "faster"}
    assert flown(out) == 4 and new < marks, "the new arm, and the model that it starts from, with two seeds"
    assert result["arms"]["grown"]["verdict"] and result["finished"]
    fly(study(later), records=[kept])
    assert flown(out) == 4


def test_weights_that_were_deleted_are_made_again_only_for_who_needs_them(fly, tmp_path):  # noqa: F811
    out = tmp_path / "out"
    fly(study())
    for model in out.glob("runs/*/model"):
        shutil.rmtree(model)
    fly(study())
    assert flown(out) == 8
    fly(study({**ARMS, "faster": {**ARMS["grown"], "schedule": "wsd"}}))
    assert flown(out) == 8 + 4


def test_a_check_counts_what_has_to_be_trained_again_for_its_weights(fly, tmp_path):  # noqa: F811
    out = tmp_path / "out"
    fly(study())
    later = study({**ARMS, "faster": {**ARMS["grown"], "schedule": "wsd"}})
    before = check_study(later, out, workers=1, timed=False)
    assert (before["runs"], before["cached"]) == (2, 8), "the new arm with two seeds; the model that it starts from is there"
    for model in out.glob("runs/*/model"):
        shutil.rmtree(model)
    same, after = (check_study(one, out, workers=1, timed=False) for one in (study(), later))
    assert (same["runs"], same["cached"]) == (0, 8), "nothing is flown, so nothing is needed"
    assert (after["runs"], after["cached"]) == (4, 6) and after["flops"] > before["flops"]
    fly(later)
    assert flown(out) == 8 + 4, "as it was told"


def test_a_team_that_shares_a_store_flies_nothing_twice(fly, monkeypatch, tmp_path):  # noqa: F811
    store = f"memory://{uuid.uuid4().hex}/team"
    first = fly(study(), share=store)
    assert flown(tmp_path / "out") == 8
    shutil.rmtree(tmp_path / "out")  # another machine
    monkeypatch.setattr("windtunnel.train.variant.choose", lambda *_, **__: pytest.fail("how steps are computed is known"))
    again = fly(study(), share=store)
    assert flown(tmp_path / "out") == 0 and again["arms"] == first["arms"]
    later = {**ARMS, "faster": {**ARMS["grown"], "schedule": "wsd"}}
    fly(study(later), share=store)
    assert flown(tmp_path / "out") == 4, "the new arm, and the model whose weights stayed where they were trained, with two seeds"


def test_a_run_that_counted_before_is_brought_to_a_store_too(fly, tmp_path):  # noqa: F811
    fly(study())
    fly(study(), share=str(tmp_path / "team"))
    assert len(list((tmp_path / "team" / "records").iterdir())) >= 6


def entry_of(**fields: Any) -> Any:
    recipe = recipe_from({"corpus": {"a": "builtin:stdlib"}, "budget": {"steps": 3}, **fields})
    return run_of("baseline", 1.0, 0, recipe, "f" * 20, Variant())


def record_of(entry: Any, **fields: Any) -> RunRecord:
    about = {"key": entry.key, "seed": 0, "status": "finished", "stream": "f" * 20, "variant": Variant()}
    return RunRecord(**{**about, "recipe": entry.recipe.model_dump(mode="json"), **fields})


def test_a_record_counts_only_for_what_it_says(tmp_path):
    entry = entry_of()
    assert agrees(record_of(entry), entry, "f" * 20)
    older = entry.recipe.model_dump(mode="json")
    del older["micro_batch"]
    assert agrees(record_of(entry, recipe=older), entry, "f" * 20), "it was flown before there was such a setting"
    other = {
        "text": record_of(entry, stream="e" * 20),
        "variant": record_of(entry, variant=Variant(precision="bfloat16")),
        "key": record_of(entry, key="0" * 20),
        "seed": record_of(entry, seed=1),
        "a default that has changed": record_of(entry, recipe={**older, "evaluate_every": 0.5}),
    }
    assert not [what for what, record in other.items() if agrees(record, entry, "f" * 20)]
    name = Path(entry.folder).name
    for record in other.values():
        save({entry.folder: record}, tmp_path)
        assert known(entry, tmp_path / "out", "f" * 20, [tmp_path]) is None
    save({entry.folder: record_of(entry)}, tmp_path)
    text = (tmp_path / f"{name}.json").read_text()
    (tmp_path / f"{name}.json").write_text(text.replace('"format": 2', '"format": 3'))
    assert committed(tmp_path / f"{name}.json") is None
    (tmp_path / f"{name}.json").write_text(text[:-20])
    with pytest.raises(UserError, match="not the record of a run"):
        known(entry, tmp_path / "out", "f" * 20, [tmp_path])
    (tmp_path / f"{name}.json").write_text(text)
    assert known(entry, tmp_path / "out", "f" * 20, [tmp_path]) == record_of(entry)


def test_records_beside_the_study_are_found_without_being_asked_for(tmp_path):
    file = str(tmp_path / "study.yaml")
    assert folders_of(file) == ()
    (tmp_path / "records").mkdir()
    assert folders_of(file) == (tmp_path / "records",)
    with pytest.raises(UserError, match=r"--records .*missing: no such folder"):
        folders_of(file, [tmp_path / "missing"])


def test_runs_of_several_machines_are_told():
    def record(processor, status="finished"):
        return RunRecord(key=processor, seed=0, status=status, hardware={"processor": processor, "cores": 2, "system": "Linux"})

    assert of_several_machines([record("A"), record("A"), record("B", status="failed")]) == []
    (said,) = of_several_machines([record("A"), record("A"), record("B")])
    assert "2 on A, 2 cores; 1 on B, 2 cores" in said and "times cannot be compared" in said
