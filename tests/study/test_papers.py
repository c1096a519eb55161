"""Papers: what a file promises, and what intervals say about it."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from windtunnel.commands.main import main
from windtunnel.core import registry
from windtunnel.core.errors import UserError
from windtunnel.core.shipped import AREAS, library, paper_files
from windtunnel.laws.claims import reproduce
from windtunnel.report import markdown
from windtunnel.report.expectations import expected
from windtunnel.report.reading import Reading
from windtunnel.study.assemble import finite
from windtunnel.study.claims import Expectation, decide
from windtunnel.study.expectations import judge, overall, usual_direction
from windtunnel.study.paper_result import Finding, PaperResult
from windtunnel.study.papers import list_papers, load_paper, measured
from windtunnel.study.results import load
from windtunnel.study.scales import overridden

PAPER = """\
    papers: [twice-the-context, longer-is-better]
    title: Longer contexts lower the loss
    authors: Somebody and Others
    year: 2024
    arxiv: "2401.00001"
    claim: Twice the context lowers the loss by a tenth, as twice the budget does.
    expect:
      - {arm: wide, relation: better, by: 0.05, note: table 1}
      - {arm: wide, metric: compute_gain, by: 0.5}
      - {arm: wide, against: double, relation: not-worse, by: 0.02}
      - {arm: odd, metric: bits_per_byte/code, relation: worse, by: 0.001}
    parts: [cosine]
    scales:
      cpu:
        corpus: {code: builtin:stdlib}
        budget: {flops: 1e9}
        seeds: 3
        curve: [0.5, 1, 2, 4]
        baseline:
          model: {depth: 2, width: 32, heads: 2}
          context: 32
          batch: 4
        arms:
          wide: {context: 64}
          double: {budget: {flops: 2e9}}
          odd: {batch: 9}
      gpu:
        budget: {flops: 1e10}
        baseline: {model: {depth: 3}}
        arms: {wide: {clip: 2.0}}
    notes: A stand-in.
"""


def write(folder: Path, text: str = PAPER, name: str = "twice-the-context") -> Path:
    path = folder / "context" / name / "paper.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text), encoding="utf-8")
    return path


def test_a_paper_is_found_by_any_of_its_slugs(tmp_path):
    write(tmp_path)
    found = [load_paper("twice-the-context", tmp_path), load_paper("longer-is-better", tmp_path), *list_papers(tmp_path)]
    assert [(paper.name, paper.area) for paper in found] == [("twice-the-context", "context")] * 3
    assert [len(list_papers(tmp_path, area)) for area in ("context", "weights")] == [1, 0]
    with pytest.raises(UserError, match="did you mean 'weights'"):
        list_papers(tmp_path, "weight")
    with pytest.raises(UserError, match="did you mean 'longer-is-better'"):
        load_paper("longer-is-worse", tmp_path)


def test_a_paper_is_found_by_its_folder_and_no_other_is_read(tmp_path):
    write(tmp_path)
    write(tmp_path, "not: [yaml", name="another")
    assert load_paper("twice-the-context", tmp_path).name == "twice-the-context"
    assert list(paper_files(tmp_path)) == ["another", "twice-the-context"]
    with pytest.raises(UserError, match="not valid YAML"):
        load_paper("another", tmp_path)


def test_a_paper_may_be_a_file_of_its_name(tmp_path):
    path = tmp_path / "twice-the-context.yaml"
    path.write_text(textwrap.dedent(PAPER), encoding="utf-8")
    found = load_paper(path)
    assert found.area == "" and found.result_file("cpu") == tmp_path / "twice-the-context.cpu.json"


def test_a_scale_is_what_differs_from_the_first(tmp_path):
    paper = load_paper(write(tmp_path))
    cpu, gpu = paper.study("cpu"), paper.study("gpu")
    assert gpu.budget.amount == 1e10 and gpu.seeds == cpu.seeds and gpu.curve == cpu.curve
    assert [gpu.resolved["baseline"].phases[0].model.depth, gpu.resolved["baseline"].phases[0].model.width] == [3, 32]
    assert (gpu.resolved["wide"].phases[0].context, gpu.resolved["wide"].phases[0].clip, cpu.resolved["wide"].phases[0].clip) == (
        64,
        2.0,
        1.0,
    )
    with pytest.raises(UserError, match="no scale 'gpus'; did you mean 'gpu'"):
        paper.study("gpus")
    with pytest.raises(UserError, match=r"outcomes of scale 'gpus'.*did you mean 'gpu'"):
        load_paper(write(tmp_path, textwrap.dedent(PAPER) + "outcomes: {gpus: nothing}\n"))


def test_overriding_leaves_both_as_they_were():
    base, over = {"arms": {"a": {"model": {"depth": 2}}}, "seeds": 3}, {"arms": {"a": {"model": {"width": 8}}, "b": {"batch": 1}}}
    assert overridden(base, over) == {"arms": {"a": {"model": {"depth": 2, "width": 8}}, "b": {"batch": 1}}, "seeds": 3}
    assert base == {"arms": {"a": {"model": {"depth": 2}}}, "seeds": 3}


def test_a_scale_leaves_out_what_is_null_in_it():
    base = {"arms": {"a": {"batch": 1}, "b": {"batch": 2}}, "recipes": {"c": {"share": 0.1}}}
    over = {"arms": {"a": None, "b": {"clip": 1.0}}, "recipes": {"c": None}}
    assert overridden(base, over) == {"arms": {"b": {"batch": 2, "clip": 1.0}}, "recipes": {}}
    assert overridden(base, {"arms": {"a": {}}})["arms"] == base["arms"], "an empty arm is as in the first scale"


def test_a_scale_in_a_section_takes_nothing_over_from_another_baseline():
    base = {"baseline": {"model": {"depth": 2}, "batch": 4}, "seeds": 3}
    assert overridden(base, {"baseline": {"section": "S", "clip": 2.0}}) == {"baseline": {"section": "S", "clip": 2.0}, "seeds": 3}
    assert overridden(base, {"seeds": 2}) == {**base, "seeds": 2}


@pytest.mark.parametrize(
    ("line", "change", "expected"),
    [
        (8, ("arm: wide, relation: better", "arm: wade, relation: better"), "no arm 'wade'; did you mean 'wide'"),
        (10, ("not-worse", "notworse"), "'not-worse'"),
        (4, ("year:", "yaer:"), "did you mean 'year'"),
        (1, ("[twice-the-context, ", "["), "'twice-the-context'"),
        (9, ("metric: compute_gain", "metric: compute_gain, against: odd"), "always against the baseline"),
        (20, ("model: {depth", "modle: {depth"), "did you mean 'model'"),
    ],
)
def test_a_mistake_is_named_with_its_line(tmp_path, line, change, expected):
    text = textwrap.dedent(PAPER)
    assert change[0] in text
    path = write(tmp_path, text.replace(*change, 1))
    with pytest.raises(UserError) as caught:
        load_paper(path).study("cpu")
    assert f"{path}:{line}:" in str(caught.value) and expected in str(caught.value), str(caught.value)


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(["better", "not-worse", "worse"]),
    st.floats(0, 1),
    st.floats(-2, 2, allow_nan=False),
    st.floats(-2, 2, allow_nan=False),
    st.floats(0, 1),
)
def test_a_verdict_is_what_every_point_of_the_interval_says(relation, by, one, other, where):
    low, high = sorted((one, other))
    verdict = decide(Expectation(arm="a", relation=relation, by=by), low, high)
    point = min(max(low + where * (high - low), low), high)
    fulfilled = {"better": point > by, "not-worse": point >= -by, "worse": point < -by}[relation]
    if verdict == "reproduced":
        assert fulfilled
    if verdict == "not reproduced":
        assert not fulfilled
    if low == high and point not in (by, -by):
        assert verdict != "undecided"


def test_what_is_equal_is_not_worse_and_not_better():
    same = {relation: decide(Expectation(arm="a", relation=relation), 0.0, 0.0) for relation in ("better", "not-worse", "worse")}
    assert same == {"better": "undecided", "not-worse": "reproduced", "worse": "undecided"}


def test_an_end_that_is_not_known_decides_nothing_on_its_side():
    expectation = Expectation(arm="a", by=0.5)
    assert decide(expectation, 0.6, None) == "reproduced"
    assert decide(expectation, None, 0.4) == "not reproduced"
    assert decide(expectation, None, 0.6) == decide(expectation, 0.4, None) == "undecided"
    assert decide(Expectation(arm="a", relation="worse", by=0.5), None, -0.6) == "reproduced"


def test_everything_must_hold():
    assert overall(["reproduced", "reproduced"]) == "reproduced"
    assert overall(["reproduced", "undecided"]) == "undecided"
    assert overall(["undecided", "not reproduced"]) == "not reproduced"
    assert overall([]) == "undecided"


def result(runs: list[dict[str, Any]], gain: dict[str, Any]) -> dict[str, Any]:
    return {
        "study": {"metric": "bits_per_byte", "better": "lower", "confidence": 0.95},
        "arms": {"wide": {"compute_gain": gain, "seeds": 3}},
        "baseline": {},
        "runs": runs,
        **{key: {} for key in ("recipes", "stream", "versions", "hardware")},
    }


def run(arm: str, seed: int, value: float, **fields: Any) -> dict[str, Any]:
    common = {
        "multiple": 1.0,
        "key": "k",
        "folder": f"runs/{arm}{seed}",
        "status": "finished",
        "error": None,
        "validation": [{"step": 1}] * 1000,
    }
    return {
        "arm": arm,
        "seed": seed,
        "test": {"bits_per_byte": value, "accuracy": value},
        "totals": {"flops": 10.0, "seconds": 2.0},
        **common,
        **fields,
    }


def paper(folder: Path, expect: str) -> Any:
    text = textwrap.dedent(PAPER)
    begin, end = text.index("expect:"), text.index("parts:")
    return load_paper(write(folder, text[:begin] + f"expect: {expect}\n" + text[end:]))


@pytest.mark.parametrize(
    ("metric", "direction"),
    [
        ("copy-accuracy/128", "higher"),
        ("cloze/code", "higher"),
        ("bits_by_length/512", "lower"),
        ("bits_per_byte/code", "lower"),
        ("flops", "lower"),
    ],
)
def test_a_number_of_an_evaluation_is_better_as_the_evaluation_says(metric, direction):
    assert usual_direction(metric) == direction


def test_two_numbers_of_one_arm_are_compared_seed_by_seed(tmp_path):
    runs = [run("wide", seed, 0.5, test={"bits_per_byte": 1.0, "new": 0.8 + 0.1 * seed, "old": 0.5 + 0.1 * seed}) for seed in range(3)]
    expect = "[{arm: wide, against: wide, metric: new, than: old, direction: higher, by: 0.4}]"
    found = judge(paper(tmp_path, expect), "cpu", result(runs, {})).expectations[0]
    assert found.improvement.mean == pytest.approx(0.3 / 0.6) and found.verdict == "reproduced" and found.rival == "old of wide"
    assert found.values["wide: old"] == pytest.approx({0: 0.5, 1: 0.6, 2: 0.7})
    with pytest.raises(UserError, match="compared with itself"):
        paper(tmp_path, "[{arm: wide, against: wide, metric: new}]").study("cpu")
    with pytest.raises(UserError, match="no other number"):
        paper(tmp_path, "[{arm: wide, metric: compute_gain, than: old}]").study("cpu")


def test_an_improvement_is_relative_paired_and_knows_its_direction(tmp_path):
    runs = [run("baseline", seed, 2.0 + seed) for seed in range(3)] + [run("wide", seed, 1.7 + seed + 0.001 * seed) for seed in range(3)]
    runs += [run("baseline", 3, 50.0), run("wide", 4, 50.0), run("wide", 0, 9.0, multiple=2.0), run("wide", 1, 9.0, status="failed")]
    gain = {"value": 1.6, "low": 1.2, "high": 2.0, "bounded": None, "low_open": False, "high_open": True}
    lower = judge(paper(tmp_path, "[{arm: wide, by: 0.05}, {arm: wide, metric: compute_gain, by: 0.1}]"), "cpu", result(runs, gain))
    first, second = lower.expectations
    assert first.improvement.mean == pytest.approx(0.299 / 3) and first.improvement.seeds == 3
    assert first.improvement.low < 0.299 / 3 < first.improvement.high and first.verdict == "reproduced"
    assert first.values["wide"] == {0: 1.7, 1: 2.701, 2: 3.702, 4: 50.0}
    assert second.improvement.plain() == {"mean": pytest.approx(0.6), "low": pytest.approx(0.2), "high": None, "seeds": 3}
    assert second.verdict == "reproduced"
    assert lower.verdict == "reproduced" and lower.flops == 10.0 * 8
    higher = judge(paper(tmp_path, "[{arm: wide, metric: accuracy, direction: higher, by: 0.05}]"), "cpu", result(runs, gain))
    assert higher.expectations[0].improvement.mean == pytest.approx(-0.299 / 3) and higher.verdict == "not reproduced"
    equal = judge(paper(tmp_path, "[{arm: wide, metric: flops, relation: better, by: 0.01}]"), "cpu", result(runs, gain))
    assert equal.expectations[0].improvement.mean == 0 and equal.verdict == "not reproduced"
    moved = [{**one, "transfer": {"forward": -0.3 if one["arm"] == "wide" else 1e-4 * (one["seed"] - 1)}} for one in runs]
    found = judge(paper(tmp_path, "[{arm: wide, metric: forward, direction: higher, by: 0.2}]"), "cpu", result(moved, gain))
    absolute = found.expectations[0]
    assert absolute.improvement.mean == pytest.approx(-0.3) and not absolute.relative and first.relative
    zero = {"values": {"wide": {0: 0.5, 1: 0.7}, "baseline": {0: 0.01, 1: 0.02}}, "improvement": {"mean": 39.0, "low": 20.0}}
    far = Finding.model_validate(first.plain() | zero)
    rows = [expected(Reading(PaperResult(expectations=[entry]))).rows[0] for entry in (absolute, first, far)]
    assert rows[2][3] == "0.6 against 0.015 (+2,000.0% to …)"
    assert rows[0][1:3] == ("better by more than 0.2 than baseline", "forward") and rows[0][3].startswith("−0.300 (")
    assert rows[1][1:3] == ("better by more than 5% than baseline", "bits per byte") and rows[1][3].startswith("+10.0% (")
    with pytest.raises(UserError, match="did you mean 'accuracy'"):
        judge(paper(tmp_path, "[{arm: wide, metric: acuracy}]"), "cpu", result(runs, gain))
    assert len(json.dumps(lower.plain())) < 10_000, "learning curves stay out of the committed file"


@pytest.mark.parametrize(("relation", "direction", "verdict"), [("better", "higher", "reproduced"), ("better", "lower", "not reproduced")])
def test_every_share_of_nothing_is_nothing(tmp_path, relation, direction, verdict):
    """What was 0 with every seed has no share of which an arm could be a half better."""
    runs = [run("baseline", seed, 2.0, test={"found": 0.0, "lost": 0.0}) for seed in range(3)]
    runs += [run("wide", seed, 2.0, test={"found": 0.1 + 0.01 * seed, "lost": 0.0}) for seed in range(3)]
    expect = f"[{{arm: wide, metric: found, relation: {relation}, direction: {direction}, by: 0.5}}]"
    found = judge(paper(tmp_path, expect), "cpu", result(runs, {})).expectations[0]
    assert found.verdict == verdict and not found.relative and found.by == 0
    assert abs(found.improvement.mean) == pytest.approx(0.11) and found.improvement.seeds == 3
    both = judge(paper(tmp_path, "[{arm: wide, metric: lost, direction: higher, by: 0.5}]"), "cpu", result(runs, {})).expectations[0]
    assert both.verdict == "undecided" and both.improvement.mean == 0, "nothing against nothing"


def test_runs_that_all_failed_leave_a_paper_undecided(tmp_path):
    runs = [run("baseline", 0, 2.0), run("wide", 0, 1.0, status="failed", test={}, totals={})]
    assert judge(paper(tmp_path, "[{arm: wide}]"), "cpu", result(runs, {})).verdict == "undecided"


def test_a_paper_is_flown_judged_and_written_down(tmp_path, stream, monkeypatch):
    from test_study import inline

    from windtunnel.study.launch import local

    monkeypatch.setattr("windtunnel.train.prepare.prepare", lambda recipe, cache, *more: stream)
    monkeypatch.setattr(local, "fly_jobs", inline)
    found = load_paper(write(tmp_path))
    measurement = reproduce(found, "cpu", tmp_path / "out", quiet=True, function="study_fakes:measure")
    path = tmp_path / "context" / "twice-the-context" / "cpu.json"
    assert path == found.result_file("cpu") and found.result_file("cpu", tmp_path) == tmp_path / "twice-the-context" / "cpu.json"
    written = load(path)
    assert PaperResult.model_validate(written) == measurement and written == finite(written) and path.stat().st_size < 60_000
    assert {finding.verdict for finding in measurement.expectations} == {"reproduced"} and measurement.verdict == "reproduced"
    assert len(measurement.expectations) == 4 and set(written["arms"]["wide"]["test"]) == {"mean", "difference", "low", "high"}
    assert len([one for one in measurement.runs if one.arm == "wide"]) == 3 and measurement.versions and measurement.date
    folder = tmp_path / "out" / "studies" / "twice-the-context.cpu"
    assert {"result.json", "stage.json", "variant.json"} == {path.name for path in folder.iterdir() if path.name != ".lock"}
    with pytest.raises(SystemExit) as ended:  # every run is finished: the command judges them and writes the page
        main(["reproduce", str(path.parent / "paper.yaml"), "--out", str(tmp_path / "out")])
    assert not ended.value.code and (folder / "report.html").is_file() and (folder / "report.md").is_file()
    assert measured(found) == {"cpu": measurement}
    assert "not finished" not in markdown(measurement) and "## What the paper leads us to expect" in markdown(measurement)


def test_every_paper_lies_in_an_area():
    areas = (path for path in library("papers").iterdir() if path.is_dir())
    assert {area.name for area in areas} <= set(AREAS)
    assert all(path.parent.name in paper_files() for path in library("papers").glob("*/*/*"))


def committed() -> list[Path]:
    """Every result that is committed."""
    return sorted([*library("papers").glob("*/*/*.json"), *library("studies").glob("results/*.json")])


@pytest.mark.parametrize("path", committed(), ids=lambda path: "-".join(path.parts[-2:]))
def test_a_committed_result_is_small(path):
    content = json.loads(path.read_text(encoding="utf-8"))
    assert path.stat().st_size <= 60_000, f"make it smaller: python -m windtunnel.study.compact {path}"
    assert content.get("compact") or content.get("kind") == "adaptation"


@pytest.mark.parametrize("found", [pytest.param(found, id=found.name) for found in list_papers()])
def test_every_committed_paper_is_whole(found):
    registry.load_all()
    known = {name for slot in registry.slots().values() for name in registry.names(slot)}
    assert set(found.parts) <= known
    for scale in found.scales if found.flies else ():
        study = found.experiment(scale) or found.study(scale)
        fitted = not any(one.arm for one in found.expect) and len(study.seeds) * (1 + len(study.arms)) >= 40
        assert fitted or len(study.seeds) >= 5, "a comparison of arms needs at least five seeds, and a law forty runs of any"
    judged_as = {one.metric: one.direction for measurement in measured(found).values() for one in measurement.expectations}
    for one in found.expect:  # a number of an experiment that is not its first is better lower, unless the file says otherwise
        if "accuracy" in one.metric and not one.direction:
            assert judged_as.get(one.metric, usual_direction(one.metric)) == "higher", f"{one.metric}: say `direction: higher`"
    for scale, measurement in measured(found).items():
        assert measurement.paper == found.name and measurement.scale == scale
        # A claim that was changed after it was measured would be judged by the wrong words.
        keys = ("arm", "law", "number", "between")
        claimed, judged = ([[getattr(one, key) for key in keys] for one in them] for them in (found.expect, measurement.expectations))
        assert judged == claimed
