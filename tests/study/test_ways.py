"""Ways of adapting as a study: one budget, one grid of rates, one table, and the model of the way that gained most and kept enough."""

from __future__ import annotations

import dataclasses
import json
from types import SimpleNamespace

import pytest
import yaml
from checkpoints import with_tokenizer
from example_result import example

from windtunnel.commands.main import main
from windtunnel.core.errors import UserError
from windtunnel.report import ways as table_of_ways
from windtunnel.report.reading import Reading
from windtunnel.study import ways
from windtunnel.study.adapt_request import AdaptRequest, budget_of
from windtunnel.study.continuing import ways_on
from windtunnel.study.file import load_study, study_from
from windtunnel.study.result import StudyResult
from windtunnel.study.ways import GRID, best_way, compare_ways, study_of, ways_of
from windtunnel.train.estimate import estimate


@pytest.fixture(scope="module")
def request_of(tmp_path_factory):
    folder = with_tokenizer(tmp_path_factory.mktemp("ways") / "model")
    return AdaptRequest(str(folder), {"notes": "builtin:stdlib"}, {"mail": "builtin:docstrings"}, budget_of("12 steps"), context=8, batch=2)


def test_the_study_of_ways_is_one_and_every_way_has_a_rate_of_its_own(request_of):
    raw = study_of(request_of, ways_of("lora, svd-core,full"))
    study = study_from(raw, name="ways")
    rates = {arm: recipe.phases[0].optimizer.learning_rate for arm, recipe in study.resolved.items()}
    assert rates["baseline"] < rates["lora"] < rates["svd-core"]
    assert [recipe.phases[0].structure and recipe.phases[0].structure.name for recipe in study.resolved.values()] == [
        None,
        "lora",
        "svd-core",
    ]
    assert study.kept == ("mail",) and study.tune.knobs["rate_multiple"] == GRID and study.tune.widen
    alone = study_of(request_of, ways_of("lora,adalora"))
    assert alone["baseline"]["structure"] == "lora" and list(alone["arms"]) == ["adalora"]


def test_ways_that_are_none_and_another_study_in_the_folder_are_refused(request_of, tmp_path):
    with pytest.raises(UserError, match="--with lorra: no such structure; did you mean 'lora'"):
        ways_of("lorra,full")
    with pytest.raises(UserError, match="lora stands there twice"):
        ways_of("lora,lora")
    (tmp_path / "ways.yaml").write_text(yaml.safe_dump(study_of(request_of, ["full", "adalora"])))
    with pytest.raises(UserError, match="holds other ways or settings"):
        compare_ways(request_of, ["full", "lora"], tmp_path)


def test_every_way_gets_the_flops_of_the_baselines_budget(request_of, tmp_path, monkeypatch):
    raw = study_of(request_of, ["full", "lora"])
    devices = []

    def check(study, *_, device, **__):
        devices.append(device)
        steps = study.budget.amount if study.budget.unit == "steps" else 12.0
        return {"arms": {"baseline": {"steps": 12.0}}, "seconds": 60.0 + steps, "preparing": 10.0, "runs": 6, "trials": 10}

    monkeypatch.setattr(ways, "check_study", check)
    sized = ways._sized(raw, tmp_path / "ways.yaml", tmp_path, None, None, None, "cuda:1", print)
    reckoned = estimate(study_from(raw, name="ways").resolved["baseline"])
    assert sized == {"flops": pytest.approx(12 * reckoned["flops"] / reckoned["steps"], rel=1e-3)}
    hours = ways._sized(raw, tmp_path / "ways.yaml", tmp_path, 1.0, None, None, "cuda:1", print)
    filled = 0.85 * 3600 - 60  # what is there whatever the number of steps is does not count as steps
    assert hours["flops"] / sized["flops"] * 12 == pytest.approx(filled, rel=0.01)
    assert set(devices) == {"cuda:1"}
    recipes = study_from({**raw, "budget": sized}, name="ways").resolved
    assert {recipe.budget.flops for recipe in recipes.values()} == {sized["flops"]}


def test_what_is_exported_is_the_way_that_is_named(tmp_path, monkeypatch):
    runs = [SimpleNamespace(arm=arm, multiple=1.0, finished=True, folder=f"runs/{arm}") for arm in ("baseline", "adalora")]
    asked = []
    monkeypatch.setattr("windtunnel.train.export.export_run", lambda run, to: (asked.append((run.name, to.name)), to.mkdir()))
    monkeypatch.setattr("windtunnel.train.export.export_adapter", lambda run, to, base: asked.append((run.name, to.name)))
    for arm, way in (("baseline", "lora"), ("baseline", "lora"), ("adalora", "adalora")):
        assert ways._export(SimpleNamespace(runs=runs), arm, way, "base", tmp_path, print)
    names = [("baseline", "model"), ("baseline", "adapter"), ("adalora", "model"), ("adalora", "adapter")]
    assert asked == names, "once each, with an adapter where the baseline is one, and anew for another way"
    assert not ways._export(SimpleNamespace(runs=[]), "adalora", "adalora", "base", tmp_path, print)


def sided(**sides: tuple[float, float]) -> StudyResult:
    """A result whose arms kept and gained so much, and train more the later they stand."""
    plain = example()
    names = list(plain["arms"])
    points = {
        name: {
            "kept": {"mean": kept, "low": kept - 0.1, "high": kept + 0.1},
            "gained": {"mean": gained, "low": gained - 0.1, "high": gained + 0.1},
        }
        for name, (kept, gained) in zip(["baseline", *names], sides.values(), strict=False)
    }
    before = {"stages": [], "belongs": {}, "matrix": [{"mail": 2.0, "notes": 3.0}]}
    plain["transfer"] = {"metric": "bits_per_byte", "kept": ["mail"], "arms": {"baseline": before}, "axes": {"arms": points}}
    for place, block in enumerate((plain["baseline"], *plain["arms"].values())):
        block["trained_parameters"] = 10.0 ** (6 - place)
    return StudyResult.model_validate(plain)


def test_the_way_that_gained_most_of_those_that_kept_enough_is_exported():
    result = sided(full=(-0.05, 1.0), one=(-0.01, 0.5), other=(0.01, 0.4))
    names = ["baseline", *result.arms]
    assert best_way(result, 0.01) == names[1]  # 1 % of 2.0 bits
    assert best_way(result, None) == "baseline" and best_way(result, 0.0) == names[2]
    assert best_way(sided(full=(-1.0, 1.0), one=(-0.5, 0.5)), 0.01) == names[1]


def test_one_table_and_one_picture_of_what_ways_take():
    reading = Reading(sided(full=(-0.05, 1.0), one=(-0.01, 0.5), other=(0.01, 0.4)))
    table = table_of_ways.table(reading)
    assert {row[0]: row[3] for row in table.rows}["baseline"] == "1.00 M" and "+1.000 (+0.900 to +1.100)" in str(table.rows)
    drawn = str(table_of_ways.chart(reading).to_dict())
    assert "trained parameters" in drawn and "'type': 'log'" in drawn
    assert (
        table_of_ways.chart(Reading(StudyResult.model_validate(example()))) is None
        and not table_of_ways.table(Reading(StudyResult.model_validate(example()))).rows
    )


# How to go on ---------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def asked(request_of):
    corpus = {"notes": "builtin:stdlib", "mail": "builtin:characters"}
    return dataclasses.replace(request_of, corpus=corpus, keep={"general": "builtin:docstrings"}, budget=budget_of("2e5 tokens"))


def test_every_arm_of_going_on_changes_one_choice_alone(asked):
    study = study_from(ways_on(asked), name="how-to-continue")
    phases = {arm: recipe.phases[0] for arm, recipe in study.resolved.items()}
    base = phases.pop("baseline")
    assert base.sources == ("notes", "mail") and study.kept == ("general",)
    assert study.budget.tokens == 2e5 and not study.resolved["baseline"].limits
    assert phases["replay-25"].mixture.shares == {"notes": 0.375, "mail": 0.375, "general": 0.25}
    assert phases["replay-5"].mixture.shares["general"] == 0.05
    assert base.mixture.shares == {"notes": 0.5, "mail": 0.5}, "in which only the share of old text differs"
    rates = {arm: phase.rate_multiple for arm, phase in phases.items() if phase.rate_multiple != 1}
    assert rates == {"lower-rate": 0.3, "higher-rate": 3.0}
    assert phases["no-warm-up"].schedule.warmup == 0 < base.schedule.warmup
    assert [arm for arm, recipe in study.resolved.items() if recipe.curators] == ["half-the-text"]
    assert study.resolved["half-the-text"].curators[0].sources == ("notes", "mail")
    for arm in ("lower-rate", "no-warm-up", "half-the-text"):
        assert phases[arm].sources == base.sources and phases[arm].optimizer == base.optimizer, arm
    with pytest.raises(UserError, match="--keep: give text like what the model must keep"):
        ways_on(dataclasses.replace(asked, keep={}))


def test_the_question_is_written_or_flown_and_answered(asked, tmp_path, capsys, monkeypatch):
    def ask(*words):
        with pytest.raises(SystemExit) as ended:
            main(["ask", "continue", asked.checkpoint, "--corpus", "notes=builtin:stdlib", "--tokens", "2e5", *words])
        return int(ended.value.code or 0)

    keep, file = ("--keep", "general=builtin:docstrings"), tmp_path / "asked.yaml"
    assert ask() == 2 and "--keep: give text" in capsys.readouterr().err
    assert ask(*keep, "--tokens", "0") == 2 and "--tokens 0: expected a number above 0" in capsys.readouterr().err
    assert ask(*keep, "--to", str(file)) == 0 and load_study(file).resolved["lower-rate"].phases[0].rate_multiple == 0.3
    assert ask(*keep, "--to", str(file)) == 2 and "exists already" in capsys.readouterr().err
    result, flown = sided(full=(-0.05, 1.0), one=(-0.01, 0.5), other=(0.01, 0.4)), []
    monkeypatch.setattr("windtunnel.study.fly.fly_study", lambda study, *_, **__: flown.append(study) or result)
    monkeypatch.setattr("windtunnel.report.write_report", lambda *_: tmp_path)
    best = next(iter(result.arms))  # of those that lose no more than a percent
    assert ask(*keep, "--out", str(tmp_path), "--json") == 0 and json.loads(capsys.readouterr().out)["best"] == best
    assert ask(*keep, "--out", str(tmp_path), "--max-forgetting", "none") == 0
    said = capsys.readouterr().out
    assert "baseline gained most; the verdicts say how sure that is" in said and "+1.000 (+0.900 to +1.100)" in said
    assert [study.name for study in flown] == ["how-to-continue"] * 2 and "half-the-text" in flown[0].arms
