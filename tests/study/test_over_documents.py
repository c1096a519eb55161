"""From what each document adds in every run to the interval of an arm over documents, and what the report says of it."""

from __future__ import annotations

import numpy as np
import pytest
from example_result import example
from rich.console import Console

from windtunnel.core.errors import UserError
from windtunnel.core.keys import Variant
from windtunnel.report import markdown
from windtunnel.report.reading import Reading
from windtunnel.report.screen import terminal
from windtunnel.slots import ByDocument
from windtunnel.slots.evaluation import GROUPED
from windtunnel.study.assemble import assemble, primary_of
from windtunnel.study.file import study_from
from windtunnel.study.plan import plan
from windtunnel.train.documents import of_primary
from windtunnel.train.record import RunRecord

COUNT = 40


def assembled(spread: float, first: int = 0, lacking: tuple[int, ...] = ()):
    """A study of three seeds whose arm is better by 0.1, by ``spread`` more or less in each document."""
    raw = {"corpus": {"code": "builtin:stdlib"}, "baseline": {"model": {"depth": 2}}, "arms": {"wsd": {"schedule": "wsd"}}, "seeds": 3}
    study = study_from(raw, name="tried")
    entries = plan(study, study.resolved, dict.fromkeys(study.resolved, "text"), Variant())
    size = np.full(COUNT, 100.0)
    found, records = {}, {}
    for entry in entries:
        gain = (entry.arm == "wsd") * (0.1 + spread * np.linspace(-1, 1, COUNT))
        bits = (2 + 0.01 * entry.seed * (1 + (entry.arm == "wsd")) - gain) * size
        if entry.seed not in lacking:
            found[entry.folder] = ByDocument(np.arange(COUNT) + first, bits, size)
        test = {"bits_per_byte": float(bits.sum() / size.sum())}
        known = {"test": test, "primary": "bits_per_byte", "totals": {"tokens": 640, "flops": 1e9, "seconds": 1.0}}
        records[entry.folder] = RunRecord(key=entry.key, seed=entry.seed, status="finished", **known)
    about = {"name": "tried", "confidence": 0.95, "margin_share": 0.005, "curve": [1.0], "seed_list": [0, 1, 2]}
    result = assemble(about, [entry for entry in entries if entry.multiple == 1.0], records, study.resolved, {}, documents=found.get)
    return result.arms["wsd"]


def test_an_arm_has_an_interval_over_documents_beside_that_over_seeds():
    arm = assembled(0.3)
    seen = arm.over_documents
    assert (seen.documents, seen.grouped) == (COUNT, False)
    assert seen.low < arm.test.difference < seen.high < 0
    assert seen.high - seen.low == pytest.approx(2 * 2.02 * 0.3 / np.sqrt(3) / np.sqrt(COUNT), rel=0.15)
    assert assembled(0.3, first=GROUPED).over_documents.grouped


def test_runs_that_do_not_say_are_left_out():
    assert assembled(0.3, lacking=(0,)).over_documents.documents == COUNT
    assert assembled(0.3, lacking=(0, 1, 2)).over_documents is None


def test_the_number_asked_for_decides_by_its_own_documents():
    found = ByDocument(np.array([3, (1 << 40) + 1, (1 << 40) + 2, GROUPED + 5]), np.arange(4.0), np.ones(4))
    assert found.of_source(1).above.tolist() == [1.0, 2.0] and found.of_source(0).unit.tolist() == [3]
    record = RunRecord(key="k", seed=0, status="finished", test={"bits_per_byte": 2.0, "bits_per_byte/own": 3.0, "cloze": 1.0})
    record = record.model_copy(update={"primary": "bits_per_byte"})
    assert primary_of(None, [record]) == "bits_per_byte" and primary_of("bits_per_byte/own", []) == ""
    assert primary_of("bits_per_byte/own", [record]) == "bits_per_byte/own"
    with pytest.raises(UserError, match="no number 'bits_per_byte/ovn'; did you mean 'bits_per_byte/own'"):
        primary_of("bits_per_byte/ovn", [record])
    with pytest.raises(UserError, match="no number 'cloze'"):  # whose unit and direction no record tells
        primary_of("cloze", [record])
    raw = {"corpus": {"code": "builtin:stdlib"}, "held_out": {"own": "own.txt"}, "arms": {"wsd": {"schedule": "wsd"}}}
    study = study_from({**raw, "primary": "bits_per_byte/own"}, name="tried")
    for recipe in study.resolved.values():
        assert recipe.trained_on(recipe.phases[0]) == ("code",) and list(recipe.sources) == ["code", "own"]
    with pytest.raises(UserError, match=r"primary: no source is called 'onw'.* did you mean 'own'"):
        study_from({**raw, "primary": "bits_per_byte/onw"}, name="tried")
    with pytest.raises(
        UserError, match=r"primary: the first evaluation, bits-per-byte, gives no number 'bits_per_bite'; did you mean 'bits_per_byte'"
    ):
        study_from({**raw, "primary": "bits_per_bite"}, name="tried")
    two = {"baseline": {"evaluations": ["bits-per-byte", "weight-health"]}, "primary": "weight_health"}
    with pytest.raises(UserError, match="gives no number 'weight_health'; put weight-health first"):
        study_from({**raw, **two}, name="tried")
    masked = {"baseline": {"objective": "masked-token", "model": {"family": "bert"}}, "primary": "masked_bits_per_byte/own"}
    assert study_from({**raw, **masked}, name="tried").primary == "masked_bits_per_byte/own"
    asked = {"baseline": {"evaluations": [{"harness": {"tasks": ["arc_easy"]}}]}, "primary": "harness/arc_easy/acc"}
    assert study_from({**raw, **asked}, name="tried").primary == "harness/arc_easy/acc", "only its data tell what it measures"
    with pytest.raises(UserError, match="a source of the corpus is called 'code' too"):
        study_from({**raw, "held_out": {"code": "own.txt"}}, name="tried")
    with pytest.raises(UserError, match="arm cannot change held_out"):
        study_from({**raw, "arms": {"more": {"held_out": {"other": "other.txt"}}}}, name="tried")
    none = {"split": {"held_out_validation": 0}}
    with pytest.raises(UserError, match="tuning chooses by documents of 'own' in validation"):
        study_from({**raw, "baseline": none, "tune": {"knobs": {"batch": [4, 8]}}, "primary": "bits_per_byte/own"}, name="tried")


def told(**over: tuple[float, float]) -> str:
    result = example()
    for name, (low, high) in over.items():
        result["arms"][name.replace("_", "-")]["over_documents"] = {"documents": 31, "low": low, "high": high}
    return Reading(result).doubt()


def test_one_sentence_says_which_doubt_is_larger_and_what_would_narrow_it():
    assert told() == ""
    text = told(g_stack=(-0.5, -0.1), wsd=(-0.03, -0.01))
    assert "For g-stack the choice of held-out documents leaves more doubt" in text and "For wsd chance between seeds leaves more" in text
    assert "more held-out text (`test_tokens:`" in text and "contains zero" not in text
    assert told(g_stack=(-0.32, -0.3), wsd=(-0.03, -0.01)).startswith("For every arm chance between seeds")
    assert "the interval of g-stack contains zero" in told(g_stack=(-0.7, 0.1))


def test_page_tables_and_terminal_show_the_interval():
    result = example()
    assert "over documents" not in markdown(result)
    result["arms"]["wsd"]["over_documents"] = {"documents": 31, "low": -0.0123, "high": 0.0456}
    console = Console(width=80, record=True, file=None)
    with console.capture() as shown:
        console.print(terminal(result))
    for text in (markdown(result), shown.get()):
        assert "0.0123" in text.replace("−", "-") or "0.012" in text
        assert "leaves more doubt than" in " ".join(text.split())


def test_documents_speak_of_the_first_number_and_of_sources():
    found = ByDocument(np.array([0, 1, (1 << 40) + 0]), np.arange(3.0), np.ones(3))
    assert of_primary(found, "bits_per_byte", "bits_per_byte", ("a", "b")) is found
    assert of_primary(found, "bits_per_byte/b", "bits_per_byte", ("a", "b")).above.tolist() == [2.0]
    assert of_primary(found, "multiple_choice/mine", "multiple_choice/mine", ("a", "b")) is found
    assert of_primary(found, "multiple_choice/a", "bits_per_byte", ("a", "b")) is None
