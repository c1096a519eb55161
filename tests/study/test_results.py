"""Results are typed, and those of the first format, which stay as they were committed, are read as if they had been written now."""

import json
import math

import pytest
from example_result import example
from paths import ROOT

from windtunnel.core.errors import UserError
from windtunnel.report import markdown
from windtunnel.report.fields import result_page
from windtunnel.report.reading import Reading
from windtunnel.study.assemble import finite
from windtunnel.study.format_1 import upgraded
from windtunnel.study.lenient import as_result
from windtunnel.study.paper_result import PaperResult
from windtunnel.study.result import FORMAT, About, RunTotals, StudyResult
from windtunnel.study.results import load, read_result, refuse_other_verdicts, save

FIRST = sorted(path for path in [*ROOT.glob("papers/**/*.json"), *ROOT.glob("studies/results/*.json")])


def old(result):
    """``result`` as format 1 had it."""
    found = json.loads(json.dumps(result))
    for block in (found["baseline"], *found["arms"].values()):
        block["test_bits_per_byte"] = block.pop("test")
    return {**found, "format": 1}


def test_a_result_is_what_it_was_after_it_was_read_and_written():
    result = StudyResult.model_validate(finite(example()))
    again = StudyResult.model_validate_json(json.dumps(result.plain(), allow_nan=False))
    assert again == result and again.format == FORMAT
    assert again.arms["g-stack"].test.difference == pytest.approx(-0.312, abs=0.05)
    assert again["arms"]["g-stack"]["verdict"] == again.verdicts["g-stack"] == "helps"
    assert markdown(result.plain()) == markdown(finite(example()))


def test_the_first_format_is_read_as_the_second():
    result = finite(example())
    found = upgraded(old(result))
    assert found["format"] == FORMAT and found["arms"] == result["arms"] and found["baseline"] == result["baseline"]
    failed = [run for run in found["runs"] if run["status"] == "failed"]
    assert failed and all(run["failure"]["kind"] == "fault" for run in failed)
    told = upgraded({"format": 1, "runs": [{"status": "failed", "error": "UserError: too small: x", "traceback": "too small: x"}]})
    assert told["runs"][0]["failure"] == {"kind": "user", "message": "too small: x", "traceback": ""}
    assert upgraded(result) is result


def test_what_cannot_be_what_its_field_says_counts_as_not_known():
    found = example(2)
    found["arms"]["wsd"]["test"]["low"] = "text"
    found["arms"]["g-stack"] = None
    found["study"] = []
    found["runs"][0]["totals"] = {"flops": 3.0, "tokens": {}}
    del found["runs"][1]["arm"], found["runs"][2]["seed"]
    read = as_result(found)
    assert read.arms["wsd"].test.low is None and read.arms["wsd"].test.difference == found["arms"]["wsd"]["test"]["difference"]
    assert read.arms.keys() == found["arms"].keys() - {"g-stack"} and read.study == About()
    assert read.runs[0].totals == RunTotals(flops=3.0) and len(read.runs) == len(found["runs"]) - 2
    assert [run.key for run in read.runs[1:]] == [run["key"] for run in found["runs"][3:]]
    assert as_result(read) is read and as_result({}) == StudyResult() and isinstance(as_result({"paper": "x"}), PaperResult)


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("helsp", r"arms\.wsd\.verdict: 'helsp' is no verdict; did you mean 'helps'\? known: failed, helps, .* has been changed"),
        ("helps", r"arms\.wsd\.verdict: 'helps' is not what its interval \(.*, lower is better\) says, which is 'undecided'"),
    ],
)
def test_a_verdict_that_somebody_wrote_is_refused(word, says, tmp_path):
    file = tmp_path / "result.json"
    result = finite(example())
    result["arms"]["wsd"] |= {"verdict": "undecided", "test": {**result["arms"]["wsd"]["test"], "low": -0.1, "high": 0.2}}
    save(result, file)
    assert read_result(file)["arms"]["wsd"]["verdict"] == "undecided"
    result["arms"]["wsd"]["verdict"] = word
    save(result, file)
    with pytest.raises(UserError, match=says):
        read_result(file)


def test_the_costs_of_a_papers_runs_stand_in_one_block():
    found = as_result({"paper": "x", "runs": [{"arm": "wsd", "seed": 0, "status": "finished", "flops": 2.0, "tokens": 64}]})
    assert found.runs[0].totals == RunTotals(flops=2.0, tokens=64)
    paper = as_result({"paper": "x", "arms": {"wsd": {}}, "runs": [one.plain() for one in found.runs]})
    assert Reading(paper).costs("wsd").flops == 2.0 and "2.00e0" in markdown(paper)


@pytest.mark.parametrize("file", FIRST, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_every_committed_result_has_the_types(file):
    content = load(file)
    assert content["format"] == FORMAT
    assert "Not flown yet" not in file.read_text(encoding="utf-8")
    assert '":"/' not in file.read_text(encoding="utf-8"), "paths of one machine say nothing on another"
    if content.get("kind") != "adaptation":
        refuse_other_verdicts(content, file)
        typed = (PaperResult if "paper" in content else StudyResult).model_validate(content)
        assert typed.arms or typed.baseline.curve or typed.laws
        assert all(arm.test.mean is None or math.isfinite(arm.test.mean) for arm in typed.arms.values())


def test_the_page_of_the_fields_is_current():
    assert (ROOT / "docs" / "result.md").read_text(encoding="utf-8") == result_page(), "make docs"
