"""The report: what it says in words, that it says the same in every form, and that nothing a result holds can break it."""

import copy
import itertools
import json
import math
import re
import struct
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from example_result import awkward, example
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from windtunnel.core import registry
from windtunnel.core.errors import UserError
from windtunnel.core.schema import describe
from windtunnel.report import charts, fairness, markdown, markup, page, samples, tables, terminal, words
from windtunnel.report.catalogue import filled, papers_pages, parts_pages, write
from windtunnel.report.document import document
from windtunnel.report.picture import picture
from windtunnel.report.reading import Reading
from windtunnel.slots import by_name
from windtunnel.study.result import ComputeGain

VOID = {"meta", "link", "br"}


def raced() -> dict[str, Any]:
    """The example as a race: one arm decided at the second look, one given up at it, the others with all seeds."""
    found = example(seeds=12)
    found["study"] |= {"seeds": 12, "race": {"least": 3, "most": 12, "noise": None}}
    for name, stopped in (("g-stack", "decided"), ("wsd", "hopeless")):
        test = found["arms"][name]["test"]
        now = {"difference": test["difference"], "low": test["low"], "high": test["high"], "prior": None}
        first = {"seeds": 3, **now, "low": -0.9, "high": 0.8, "verdict": "undecided", "chance": 0.42}
        last = {"seeds": 6, **now, "verdict": found["arms"][name]["verdict"], "chance": 0.04 if stopped == "hopeless" else 0.99}
        found["arms"][name] |= {"seeds": 6, "planned": 6, "stopped": stopped, "looks": [first, last]}
    return found


class Nesting(HTMLParser):
    """Collects elements and complains about one that is closed in the wrong place or has an attribute twice."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), f"{tag} has an attribute twice: {attrs}"
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text.append(data)


def parsed(path: Path) -> Nesting:
    found = Nesting()
    found.feed(path.read_text(encoding="utf-8"))
    found.close()
    assert not found.open
    return found


def shown(result: dict[str, Any], width: int = 160) -> str:
    console = Console(width=width, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(terminal(result))
    return console.export_text()


def only(name: str, **changes: Any) -> Reading:
    """A reading of the example with one arm, changed."""
    result = example()
    result["arms"] = {name: {**result["arms"][name], **changes}}
    return Reading(result)


# What it says -------------------------------------------------------------------------------------------------------------------


def test_verdicts_in_plain_words() -> None:
    reading = Reading(example())
    assert {name: reading.sentence(name) for name in reading.arms} == {
        "g-stack": "Helps: −0.31 bits per byte (95 % CI −0.36 to −0.26); compute gain ≥ 2.00, the largest budget of the baseline.",
        "wsd": "Undecided: −0.02 bits per byte (95 % CI −0.08 to +0.04); about 38 seeds would settle it (5 flown).",
        "qk-norm": "No difference: +0.004 bits per byte (95 % CI −0.004 to +0.012); within the margin of ±0.02.",
        "ul2": "Hurts: +0.14 bits per byte (95 % CI +0.10 to +0.18); compute gain 0.71 (0.62 to 0.84).",
        "muon": "Failed: 5 of 5 runs ended with an error, shown below.",
    }
    assert reading.ranked() == ["g-stack", "wsd", "qk-norm", "ul2", "muon"]
    for name, _, _, difference, interval, *_ in tables.verdicts(reading).rows[1:]:
        assert difference == "–" or {difference, interval} <= {*re.split(r" (?=bits)|CI |\)|: ", reading.sentence(name))}, (
            "rounded otherwise"
        )


@pytest.mark.parametrize(
    ("gain", "said"),
    [
        ({"value": 1.8, "low": 1.5, "high": 2.0, "bounded": None}, "compute gain 1.80 (1.50 to 2.00)"),
        ({"value": 1.8, "low": 1.5, "high": 2.0, "bounded": None, "high_open": True}, "compute gain 1.80 (1.50 to ≥ 2.00)"),
        ({"value": 0.7, "low": 0.5, "high": 0.9, "bounded": None, "low_open": True}, "compute gain 0.70 (≤ 0.50 to 0.90)"),
        ({"value": 2.0, "low": 2.0, "high": 2.0, "bounded": "at least"}, "compute gain ≥ 2.00, the largest budget"),
        ({"value": 0.5, "low": 0.5, "high": 0.7, "bounded": "at most"}, "compute gain ≤ 0.50, the smallest budget"),
        ({"value": 1.0, "low": 0.9, "high": 1.0, "bounded": "at least"}, "compute gain ≥ 1.00"),
        ({"value": None, "low": None, "high": None, "bounded": None}, ""),
        (None, ""),
    ],
)
def test_a_bounded_gain_is_never_stated_as_a_value(gain: dict[str, Any] | None, said: str) -> None:
    text = only("g-stack", compute_gain=gain).gain("g-stack")
    assert said in text and bool(said) == bool(text)


def test_a_gain_in_the_table_shows_bounds_and_open_ends() -> None:
    stated = ComputeGain(value=2.0, low=1.4, high=2.0, bounded="at least", high_open=True)
    assert (words.gain(stated), words.gain_interval(stated)) == ("≥ 2.00", "1.40 to ≥ 2.00")
    stated = ComputeGain(value=0.5, low=0.5, high=0.9, bounded="at most", low_open=True)
    assert (words.gain(stated), words.gain_interval(stated)) == ("≤ 0.50", "≤ 0.50 to 0.90")


def test_no_end_of_an_interval_reads_as_zero() -> None:
    block = {"mean": 1.5, "difference": -0.03, "low": -0.06, "high": -0.0004}
    assert "(95 % CI −0.0600 to −0.0004)" in only("g-stack", test=block).sentence("g-stack")


def test_a_metric_that_should_be_high_and_has_another_name() -> None:
    result = example()
    result["study"] |= {"metric": "accuracy", "unit": "accuracy", "better": "higher", "margin": None}
    reading = Reading(result)
    assert reading.ranked()[:2] == ["ul2", "qk-norm"]  # the highest difference is the best
    assert "+0.14 accuracy" in reading.sentence("ul2")
    assert "never conclude “no difference”" in " ".join(reading.honesty())
    assert "positive is better" in markdown(result)


def test_an_undecided_arm_says_how_many_seeds_it_takes() -> None:
    assert "about 12 seeds would settle it (5 flown)" in only("wsd", required_seeds=12).sentence("wsd")
    assert "too few runs to estimate" in only("wsd", required_seeds=None).sentence("wsd")
    assert "no practical number" in only("wsd", required_seeds=10**7).sentence("wsd")


def test_a_race_says_where_it_stopped_and_that_the_mean_is_biased(tmp_path: Path) -> None:
    reading = Reading(raced())
    assert "Stopped early, after 6 seeds of at most 12: the mean is biased away from zero." in reading.sentence("g-stack")
    assert "Given up after 6 seeds: a verdict by 12 had become unlikely; the mean is biased." in reading.sentence("wsd")
    assert "biased" not in reading.sentence("ul2"), "it has every seed"
    assert reading.seeds() == "6 to 12 seeds of at most 12"
    assert any("repeated confidence intervals" in line for line in reading.honesty())
    assert not any("the missing ones failed" in line for line in fairness.warnings(reading))
    rows = tables.looks(reading).rows
    assert [(row[0], row[1], row[4], row[5]) for row in rows] == [
        ("g-stack", "3", "undecided", "42%"),
        ("g-stack", "6", "helps", "–"),
        ("wsd", "3", "undecided", "42%"),
        ("wsd", "6", "undecided", "4%"),
    ]
    for text in (markdown(raced()), document(raced())):
        assert "What each look said" in text and "biased away from zero" in text
    parsed(page(raced(), tmp_path))
    assert "What each look said" not in markdown(example()) and "raced" not in document(example())


def test_how_sure_it_is() -> None:
    result = example(3)
    result["study"]["confidence_of_each"] = 0.99
    text = " ".join(Reading(result).honesty())
    assert "flew 3 seeds at a budget of 2e12 FLOPs" in text
    assert "99 %" not in text, "it stands behind a question mark"
    said = "Each interval is wide enough for 99 %, so that all of them hold together with 95 %."
    assert Reading(result).multiplicity() == said and said in markdown(result)
    assert re.search(rf"<details class=.why.><summary[^>]*>\?</summary>\s*<p>{re.escape(said)}</p>", document(result))
    assert "3 seeds give only a rough estimate of the spread" in text
    result["arms"] = {"wsd": {**result["arms"]["wsd"], "seeds": 1}}
    assert "One seed cannot separate an effect from chance" in " ".join(Reading(result).honesty())


def test_warnings_of_an_unfair_comparison() -> None:
    result = example()
    assert [line.split()[0] for line in fairness.warnings(Reading(result))] == ["ul2"]
    assert "code 1.4 times and prose 2.8 times" in fairness.warnings(Reading(result))[0]
    result["arms"]["wsd"]["budget_ratio"] = 2.0
    result["arms"]["qk-norm"]["seeds"] = 3
    lines = " ".join(fairness.warnings(Reading(result)))
    assert "wsd spent 2.00 times the baseline's budget" in lines and "qk-norm has 3 of 5 seeds" in lines
    for run in result["runs"]:  # now the baseline repeats too
        run["totals"]["epochs"] = {"code": 3.0}
    assert any("The baseline repeats data (code), g-stack does not" in line for line in fairness.warnings(Reading(result)))


def test_times_are_cpu_seconds_and_how_much_runs_scattered_is_told() -> None:
    result = example()
    assert fairness.scatter(Reading(result)) == "", "every run was as fast"
    for number, run in enumerate(run for run in result["runs"] if run["arm"] == "wsd"):
        run["totals"]["seconds"] = 20.0 * (1 + number)
    said = fairness.scatter(Reading(result))
    assert said.startswith("Runs of wsd did 2.00e10 to 1.00e11 FLOPs a second, 5.00 times as many, as where other work shares the machine")
    assert said.endswith("which are of the clock, say little.") and said in fairness.warnings(Reading(result))
    assert "time" in tables.verdicts(Reading(result)).columns
    for place, name in enumerate(("g-stack", "wsd", "qk-norm", "ul2")):
        result["arms"][name] |= {"cpu_ratio": 2.0 + place, "cpu_seconds": 60.0}
    reading = Reading(result)
    table, column = tables.verdicts(reading), tables.verdicts(reading).columns.index("CPU time")
    assert {row[0]: row[column] for row in table.rows} == {
        "baseline": "1.00",
        "g-stack": "2.00",
        "wsd": "3.00",
        "qk-norm": "4.00",
        "ul2": "5.00",
        "muon": "–",
    }
    assert "1 min 00 s" in next(row for row in tables.costs(reading).rows if row[0] == "wsd")
    assert fairness.scatter(reading).endswith("So the table compares CPU seconds.")
    result["arms"]["ul2"]["cpu_ratio"] = None
    assert "time" in tables.verdicts(Reading(result)).columns, "one arm without them: all are compared by the clock"


def test_trials_are_a_table_and_a_choice_at_the_end_of_the_grid_is_warned_of(tmp_path) -> None:
    knob = "optimizer.adamw.learning_rate"
    losses = {
        "baseline": {0.001: 2.5, 0.003: 2.4, 0.01: 2.6},
        "g-stack": {0.001: 2.5, 0.003: 2.4, 0.01: 2.3},
        "wsd": {0.001: 2.1, 0.003: None},
    }
    result = example()
    result["tuning"] = {"knobs": {knob: [0.001, 0.003, 0.01]}, "share": 0.2, "arms": {}}
    for arm, trials in losses.items():
        rows = [{"values": {knob: value}, "validation": loss} for value, loss in trials.items()]
        best = min((row for row in rows if row["validation"] is not None), key=lambda row: row["validation"])
        result["tuning"]["arms"][arm] = {"chosen": best["values"], "trials": rows}
    said = [line for line in fairness.warnings(Reading(result)) if knob in line]
    assert said == [
        f"The {knob} chosen for g-stack, 0.01, is the highest that was tried: a better one may lie beyond.",
        f"The {knob} chosen for wsd, 0.001, is the lowest that was tried: a better one may lie beyond.",
    ]
    table = tables.trials(Reading(result))
    assert "Trials" in tables.runs(Reading(result)).note and not tables.runs(Reading(example())).note
    assert table.columns == ("arm", "0.001", "0.003", "0.01") and "20% of the budget" in table.note
    assert table.rows[0] == ("baseline", "2.500", "2.400*", "2.600") and ("wsd", "2.100*", "–", "–") in table.rows
    assert "2.400*" in page(result, tmp_path).read_text() and "## Tuning" in markdown(result)


def test_an_arm_without_a_verdict_yet() -> None:
    reading = only("wsd", verdict=None)
    assert "No verdict yet" in reading.sentence("wsd")


def test_samples_of_models_that_have_learned_too_little_are_left_out_and_blank_runs_told() -> None:
    result = example()
    entry = {"source": "code", "prompt": "def f():", "truth": "    return 1\n", "continuation": "a\n \n\n\t\n\nb" + " " * 40 + "c"}
    result["samples"] = {"baseline": [entry], "wsd": [{**entry, "continuation": "......"}]}
    result["baseline"]["test"]["mean"], result["arms"]["wsd"]["test"]["mean"] = 2.9, 3.64
    shown = samples.of_arms(Reading(result))
    assert "a\n↵×5\nb␣×40c" in shown and "......" not in shown
    assert "Not shown: what wsd (3.6) wrote. Above 3 bits per byte" in shown
    result["baseline"]["test"]["mean"] = 3.5
    assert "Not shown: what baseline (3.5) and wsd (3.6) wrote." in (shown := samples.of_arms(Reading(result))) and "<pre>" not in shown
    result["study"] |= {"metric": "accuracy", "unit": "accuracy"}
    assert "......" in samples.of_arms(Reading(result)), "of another metric nothing is known"
    for name in ("baseline", "wsd"):
        block = result["baseline"] if name == "baseline" else result["arms"][name]
        block.setdefault("numbers", {})["bits_per_byte"] = {"mean": 4.0}
    assert "......" not in samples.of_arms(Reading(result))


def test_rows_of_a_table_are_shown_with_truth_and_answers_before_their_cells() -> None:
    result = example()
    cells = {f"column-{number}": str(number) for number in range(12)}
    entry = {"source": "mine", "prompt": "row 1", "cells": cells, "truth": "label sick", "continuation": "label well (70%)"}
    result["samples"] = {"baseline": [entry], "wsd": [{**entry, "continuation": "label sick (60%)"}]}
    shown = samples.of_arms(Reading(result))
    places = [shown.index(text) for text in ("label sick", "label well (70%)", "label sick (60%)", "<td>0</td>", "<td>7</td>")]
    assert places == sorted(places) and "<td>8</td>" not in shown and "8 of 12 columns are shown" in shown
    assert '<th scope="col">truth</th>' in shown and '<div class="scroll"' in shown


def test_what_is_no_text_is_told_in_its_own_words() -> None:
    result = example()
    result["baseline"]["tokens_per_parameter"] = 3.0
    assert "tokens per parameter" in tables.costs(Reading(result)).columns and "3 tokens" in Reading(result).early()
    result["stream"] = {"unit": "row", "unknown_test": 0, "numbers": 30}
    reading = Reading(result)
    assert "3 positions per parameter" in reading.early()
    assert {"positions", "positions per parameter", "unique rows"} < set(tables.costs(reading).columns)
    assert "held-out test rows" in document(result) and "Unknown" not in document(result)


def test_what_has_no_bytes_has_no_size() -> None:
    result = example()
    result["corpus"] = [
        {"source": "s", "what": "left out: edge", "documents": 7, "bytes": 0},
        {"source": "s", "what": "read", "documents": 8, "bytes": 9},
    ]
    assert [row[-1] for row in tables.corpus(Reading(result)).rows] == ["–", "9 B"]


def test_memory_that_differs_between_runs_of_one_arm_as_between_arms_is_not_compared() -> None:
    result = example()
    before = Reading(result).memory_ratio("wsd")
    assert before is not None
    next(run for run in result["runs"] if run["arm"] == "wsd")["totals"]["peak_memory_bytes"] *= 9
    assert Reading(result).memory_ratio("wsd") is None and Reading(result).memory_ratio("ul2") is not None


def test_counts_and_numbers_of_the_only_source_are_not_told_twice() -> None:
    result = example()
    result["corpus"] = [{"source": "code", "what": "read", "documents": 9}]
    same = {"mean": 4.0, "difference": 0.0, "low": 0.0, "high": 0.0}
    for arm in result["arms"].values():
        arm["numbers"] = {
            "bits_per_byte/code": {**same, "difference": 0.1, "high": 0.2},
            "series": same,
            "bits/prose": {**same, "high": 1.0},
            "exact_match": {**same, "mean": 0.0},
        }
    assert {row[0] for row in tables.others(Reading(result)).rows} == {"bits/prose", "exact_match"}


def test_a_wide_table_names_the_column_of_every_value_for_phones(tmp_path: Path) -> None:
    found = parsed(page(example(), tmp_path))
    table = tables.verdicts(Reading(example()))
    labels = [attributes["data-label"] for tag, attributes in found.seen if tag == "td" and "data-label" in attributes]
    assert labels[: len(table.columns) - 1] == list(table.columns[1:])
    boxes = [attributes for tag, attributes in found.seen if "scroll" in (attributes.get("class") or "").split()]
    cards = [box["aria-label"] for box in boxes if "cards" in (box["class"] or "")]
    assert table.title in cards and "Every run" not in cards, "a hundred cards are no help"


def test_the_source_that_decides_is_named_and_a_decoded_line_shown(tmp_path: Path) -> None:
    """Read in an unfinished study on a test set of one's own: the first screen did not say whose number it was."""
    result = example()
    result["study"]["metric"], result["finished"] = "bits_per_byte/target", False
    result["corpus"].append(
        {"source": "tickets", "what": "decoded from cp1252", "documents": 1, "bytes": 0, "examples": ["a.csv: Größe;façade"]}
    )
    reading, html = Reading(result), "".join(parsed(page(result, tmp_path)).text)
    assert "judged by bits per byte of target on" in html and "of target on the test split" in tables.verdicts(reading).title
    assert "decoded from cp1252, as in a.csv: Größe;façade" in html and "baseline fly " in html and "baseline flew" not in html
    assert "decoded" not in str(tables.removed(reading).rows)


def test_a_name_stands_on_one_line_of_a_terminal() -> None:
    result = example()
    result["arms"] = {"whole-documents": {**result["arms"]["wsd"], "verdict": None}}
    assert "whole-documents" in shown(result, 80) and "seeds" in shown(result, 80)


# The same in every form ---------------------------------------------------------------------------------------------------------


def test_a_chart_says_where_validation_and_test_are_two_scales(tmp_path: Path) -> None:
    result = example()
    for run in result["runs"]:
        for row in run["validation"]:
            row["numbers"]["bits_per_byte_zero"] = 5.0
        run["test"]["bits_per_byte_zero"] = 8.0
    said = "knowing nothing costs 5.00 bits per byte on validation and 8.00 on test."
    shown = (" ".join("".join(parsed(page(one, tmp_path)).text).split()) for one in (result, example()))
    assert [said in text for text in shown] == [True, False] and Reading(example()).two_scales() == ""
    assert [charts.curves(Reading(one)).to_json().count("lines and diamonds are two scales") > 0 for one in (result, example())] == [
        True,
        False,
    ]


def test_page_markdown_and_terminal_say_the_same(tmp_path: Path) -> None:
    result = example()
    reading = Reading(result)
    html = " ".join("".join(parsed(page(result, tmp_path)).text).split())
    text, drawn = markdown(result), " ".join(shown(result).split())
    for name in reading.arms:
        sentence = reading.sentence(name)
        assert sentence in html and sentence in drawn and markup.escaped(sentence) in text
    for row in tables.verdicts(reading).rows:
        for cell in row:
            assert cell in html and markup.escaped(cell) in text
    for table in tables.every(reading):
        assert f"## {markup.escaped(table.title)}" in text
    assert "FloatingPointError: the loss is nan" in html and "FloatingPointError: the loss is nan" in drawn


def test_markdown_tables_are_whole() -> None:
    for result in (example(), awkward()):
        cells = None
        for line in markdown(result).splitlines():
            if line.startswith("|"):
                found = len(re.findall(r"(?<!\\)\|", line))
                assert cells in (None, found), line
                cells = found
            else:
                cells = None


def test_the_page_asks_for_nothing(tmp_path: Path) -> None:
    path = page(example(), tmp_path)
    text = path.read_text(encoding="utf-8")
    assert path == tmp_path / "report.html" and [entry.name for entry in tmp_path.iterdir()] == ["report.html"]
    assert len(text) < 400_000
    found = parsed(path)
    assert not [tag for tag, _ in found.seen if tag in ("script", "iframe", "object", "embed", "img", "form", "image")]
    assert not re.search(r"@import|url\((?!#)", text)
    for tag, attributes in found.seen:
        assert not {key for key in attributes if key.startswith("on") or key == "src"}, tag
        assert not (attributes.get("href") or "").startswith(("http", "//"))
    policy = next(attributes["content"] for tag, attributes in found.seen if tag == "meta" and "http-equiv" in attributes)
    assert policy and policy.startswith("default-src 'none'")


def test_ids_are_unique_and_charts_have_words_for_who_cannot_see_them(tmp_path: Path) -> None:
    found = parsed(page(example(), tmp_path))
    ids = [attributes["id"] for _, attributes in found.seen if "id" in attributes]
    assert ids and len(ids) == len(set(ids))
    drawings = [attributes for tag, attributes in found.seen if tag == "svg" and attributes.get("role") == "img"]
    assert sorted(attributes["class"] or "" for attributes in drawings) == ["narrow", "narrow", "wide", "wide"]
    assert all("g-stack" in (attributes["aria-label"] or "") for attributes in drawings)


def test_the_folder_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write .*report\.html"):
        page(example(), tmp_path / "file")


# What a result may hold ---------------------------------------------------------------------------------------------------------


def test_nothing_in_a_result_becomes_markup(tmp_path: Path) -> None:
    result = awkward()
    path = page(result, tmp_path)
    found = parsed(path)
    assert not [tag for tag, _ in found.seen if tag == "script"]
    assert "<script" not in path.read_text(encoding="utf-8").lower()
    assert "".join(found.text).count("<script>alert('x')</script>") > 10  # shown, not run
    assert not re.search("[\x00-\x08\x1b]", path.read_text(encoding="utf-8"))
    assert "<script" not in markdown(result)
    assert "\x1b[31m" not in shown(result)
    assert "Not finished." in "".join(found.text) and "so far" in shown(result)


def test_markup_in_a_terminal_is_shown_as_it_is() -> None:
    result = example()
    result["arms"] = {"[bold red]x[/bold red]": result["arms"]["g-stack"]}
    assert "[bold red]x[/bold red]" in shown(result)


@pytest.mark.parametrize("keep", [(), ("study",), ("study", "baseline"), ("arms",), ("arms", "runs"), ("runs", "recipes", "samples")])
def test_a_result_with_blocks_missing(tmp_path: Path, keep: tuple[str, ...]) -> None:
    result = {key: value for key, value in example().items() if key in keep}
    parsed(page(result, tmp_path))
    assert markdown(result) and shown(result)


def test_a_study_without_arms(tmp_path: Path) -> None:
    result = example()
    result |= {"arms": {}, "runs": [run for run in result["runs"] if run["arm"] == "baseline"]}
    assert "there is only a baseline" in "".join(parsed(page(result, tmp_path)).text)
    assert charts.forest(Reading(result)) is None and charts.curves(Reading(result)) is not None


def test_a_study_whose_baseline_failed(tmp_path: Path) -> None:
    result = example() | {"error": "every run of the baseline failed: <out of memory>"}
    assert "every run of the baseline failed: <out of memory>" in "".join(parsed(page(result, tmp_path)).text)
    assert "every run of the baseline failed" in shown(result) and "every run of the baseline failed" in markdown(result)


def paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, child in children for found in paths(child, (*path, key)))]


def child(inner: Any, key: Any) -> Any:
    if isinstance(inner, dict):
        return inner.get(key)
    return inner[key] if isinstance(inner, list) and len(inner) > key else None


SMALL = example(2)
del SMALL["runs"][3:]
PLACES = [place for place in paths(SMALL) if place]
DAMAGE = st.sampled_from([None, math.nan, math.inf, -math.inf, "", "text", {}, [], 0, -1, 10**400])


@settings(max_examples=12, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(PLACES), DAMAGE), min_size=1, max_size=4))
def test_no_single_value_breaks_the_report(damages: list[tuple[tuple[Any, ...], Any]]) -> None:
    result = copy.deepcopy(SMALL)
    for place, value in damages:
        inner: Any = result
        for key in place[:-1]:
            inner = child(inner, key)
        if isinstance(inner, dict) or (isinstance(inner, list) and len(inner) > place[-1]):
            inner[place[-1]] = value
    markdown(result)
    shown(result)
    reading = Reading(result)
    for make_chart in (charts.forest, charts.curves):  # built, not rendered, which would cost a second each
        chart = make_chart(reading)
        assert chart is None or "NaN" not in json.dumps(chart.to_dict(validate=False))
    from windtunnel.report import document

    for make in (document.verdicts, samples.of_arms, document.failures, document.stream, document.reading_on):
        make(reading)
    document.recipes(reading.result.recipes)


# Numbers ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (words.number(-0.0001, 2), "0.00"),
        (words.number(-1234.5, 1), "−1,234.5"),
        (words.number(math.nan), "–"),
        (words.number(True), "–"),
        (words.signed(0.25, 2), "+0.25"),
        (words.signed(-0.25, 2), "−0.25"),
        (words.signed(0.001, 2), "0.00"),
        (words.scientific(2e12), "2.00e12"),
        (words.count(442368), "442 k"),
        (words.count(1838464), "1.84 M"),
        (words.count(999), "999"),
        (words.storage(734003200), "700.0 MiB"),
        (words.duration(3725), "1 h 02 min"),
        (words.duration(68.4), "1 min 08 s"),
        (words.duration(59.99), "1 min 00 s"),
        (words.listing(["a", "b", "c"]), "a, b and c"),
    ],
)
def test_how_quantities_are_written(made: str, expected: str) -> None:
    assert made == expected


# Charts -------------------------------------------------------------------------------------------------------------------------


def test_a_band_spans_the_seeds() -> None:
    result = example(2)
    rows = [
        [{"flops": f, "numbers": {"bits_per_byte": v}} for f, v in points] for points in ([(1, 4.0), (100, 2.0)], [(10, 5.0), (100, 1.0)])
    ]
    result["runs"] = [{"arm": "wsd", "seed": seed, "status": "finished", "validation": rows[seed]} for seed in (0, 1)]
    band = charts.bands(Reading(result), "wsd")
    assert [row["flops"] for row in band] == [10.0, 100.0]  # only where both seeds are
    assert band[0] == pytest.approx(
        {"flops": 10.0, "value": 4.0, "low": 3.0, "high": 5.0}
    )  # the first seed is interpolated on the logarithm
    assert band[1] == pytest.approx({"flops": 100.0, "value": 1.5, "low": 1.0, "high": 2.0})


def test_a_long_curve_is_thinned() -> None:
    result = example(1)
    points = [{"flops": 1e9 * step, "numbers": {"bits_per_byte": 5 - 1e-4 * step}} for step in range(1, 5000)]
    result["runs"] = [{"arm": "wsd", "seed": 0, "status": "finished", "validation": points}]
    band = charts.bands(Reading(result), "wsd")
    assert len(band) == charts.POINTS and band[0]["flops"] == pytest.approx(1e9) and band[-1]["flops"] == pytest.approx(4.999e12)


def test_at_most_six_arms_are_coloured_and_the_worst_is_among_them() -> None:
    result = example(1)
    arm = result["arms"]["wsd"]
    result["arms"] = {f"arm {i}": {**arm, "test": {"difference": 0.01 * i}} for i in range(20)}
    result["runs"] = [{"arm": name, "seed": 0, "status": "finished"} for name in result["arms"]]
    chosen = charts.styles(Reading(result))
    assert list(chosen) == ["arm 0", "arm 1", "arm 2", "arm 3", "arm 4", "arm 19"]
    assert len(set(chosen.values())) == 6


def test_labels_stand_at_the_ends_of_their_lines() -> None:
    reading = Reading(example(2))
    layers = charts.curves(reading).to_dict(validate=False)["layer"]
    tags = {row["name"]: row for layer in layers if layer["mark"]["type"] == "text" for row in layer["data"]["values"]}
    assert tags["baseline"]["flops"] == 4e12, "its diamonds go on to two budgets"
    assert {name: tags[name]["flops"] for name in ("g-stack", "ul2")} == {"g-stack": 2e12, "ul2": 2e12}
    assert tags["g-stack"]["value"] < tags["ul2"]["value"]


def test_an_arm_without_a_line_is_named_at_its_diamond() -> None:
    """As where a first phase draws, which an evaluation of labels cannot judge."""
    result = example(2)
    for run in result["runs"]:
        if run["arm"] == "ul2":
            run["validation"] = run["validation"][-1:]
    result["arms"]["ul2"]["flops"] = 9e12
    reading = Reading(result)
    layers = charts.curves(reading).to_dict(validate=False)["layer"]
    tags = {row["name"]: row for layer in layers if layer["mark"]["type"] == "text" for row in layer["data"]["values"]}
    assert charts.bands(reading, "ul2") == [] and tags["ul2"]["flops"] == 9e12
    assert layers[0]["encoding"]["x"]["scale"]["domain"][1] > 9e12, "it stands inside the axes"


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=12), st.floats(0.1, 20))
@settings(max_examples=50, deadline=None)
def test_labels_do_not_overlap(values: list[float], gap: float) -> None:
    placed = charts.apart([(value, str(index)) for index, value in enumerate(values)], gap)
    assert sorted(name for _, name in placed) == sorted(str(index) for index in range(len(values)))
    places = [place for place, _ in placed]
    assert all(b - a >= gap - 1e-6 for a, b in itertools.pairwise(places))
    ordered = sorted(values)
    if all(b - a >= gap for a, b in itertools.pairwise(ordered)):
        assert places == ordered  # what does not overlap stays where it is


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("mode", [0, 1], ids=["light", "dark"])
def test_lines_stand_out_from_the_paper(mode: int) -> None:
    paper = luminance(charts.COLOURS["paper"][mode])
    for name, least in [("ink", 4.5), ("muted", 4.5), *((line, 3.0) for line in charts.LINES)]:
        one, other = sorted((luminance(charts.COLOURS[name][mode]), paper))
        assert (other + 0.05) / (one + 0.05) >= least, name


def test_where_pruning_turns_is_drawn_and_told() -> None:
    result = example()
    for entry in result["runs"]:
        if entry["arm"] in ("baseline", "wsd") and entry["multiple"] == 1:
            bend = 0.4 if entry["arm"] == "wsd" else 0.6
            entry["test"] |= {f"pruned/{share}%": 3 + 9 * max(0, share / 100 - bend) for share in range(0, 100, 10)}
    reading = Reading(result)
    rows = {row[0]: row for row in tables.pruning_sweep(reading).rows}
    assert rows.keys() == {"baseline", "wsd"} and rows["wsd"][1:4] == ("pruned", "two pieces", "40%") and rows["baseline"][3] == "60%"
    assert "What can be removed at once" in markdown(result)
    html = document(result)
    assert html.count('class="wide"') == document(example()).count('class="wide"') + 1
    assert "wsd pruned" in html and "knee at 40%" in html
    assert not tables.pruning_sweep(Reading(example())).rows


def test_a_picture_for_the_readme(tmp_path: Path) -> None:
    path = picture(example(), tmp_path / "new" / "report.png")
    data = path.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", data[16:24])
    assert width > 2 * height > 1000
    with pytest.raises(UserError, match="no finished run"):
        picture({}, tmp_path / "none.png")


# Documentation ------------------------------------------------------------------------------------------------------------------


def test_every_part_is_in_the_catalogue() -> None:
    pages = parts_pages()
    for slot_name, slot in by_name().items():
        text, file = pages[f"parts/{registry.folder_of(slot_name)}.md"], f"{registry.folder_of(slot_name)}.md"
        assert text.startswith(f"# {slot_name}\n") and f"[{slot_name}]({file})" in pages["parts/index.md"]
        for name, found in registry.names(slot).items():
            assert f"## {markup.escaped(name)}\n" in text and f"({file}#{name})" in pages["parts/index.md"]
            for knob, about in describe(found)["knobs"].items():
                assert f"| `{knob}` | " in text and markup.escaped(about["description"]) in text


def test_the_page_of_papers() -> None:
    papers = [
        {
            "papers": ["g-stack"],
            "area": "weights",
            "title": "Stacking | growth",
            "year": 2024,
            "arxiv": "2405.15319",
            "claim": "half the tokens",
            "notes": "small",
            "outcomes": {"cpu": "It | did."},
        },
        {"papers": ["wsd", "other"], "title": "WSD"},
    ]
    expectation = {"arm": "wsd", "against": "baseline", "metric": "flops", "relation": "not-worse", "by": 0.02, "note": "a hunch"}
    expectation |= {"improvement": {"mean": -0.01, "low": None, "high": 0.03}, "verdict": "undecided"}
    results = {
        "g-stack": {"cpu": {**example(), "verdict": "reproduced", "expectations": [expectation]}},
        "g-stack-two": {"cpu": {"verdict": "not reproduced"}},
    }
    pages = papers_pages(papers, results)
    assert list(pages) == ["papers/index.md", "papers/wsd.md", "papers/g-stack.md"]
    index, text = pages["papers/index.md"], pages["papers/g-stack.md"]
    assert "| weights | [g-stack](g-stack.md) | Stacking \\| growth (2024) | reproduced (cpu, 0 of 1) |" in index
    assert re.search(r"^\|  \| \[wsd\]\(wsd.md\) .*not measured yet \|$", index, re.MULTILINE) and "not reproduced (" not in index
    assert "https://arxiv.org/abs/2405.15319" in text and "`papers/weights/g-stack/cpu.json`" in text
    assert "## Measured (cpu): reproduced, 0 of 1\n\nIt \\| did.\n\n### What was expected\n\n| arm | expected |" in text
    assert "| wsd | worse by at most 2% than baseline | flops | −1.0% (… to +3.0%) | undecided | a hunch |" in text
    assert re.search(r"^\| wsd \| undecided \| [\d.]+ \| −[\d.]+ \| −[\d.]+ to \+[\d.]+ \|", text, re.MULTILINE), "a row and no paragraph"
    assert "## Not measured yet" in pages["papers/wsd.md"]


def test_the_pages_are_written_from_files(tmp_path: Path) -> None:
    folder = tmp_path / "papers" / "weights" / "g-stack"
    folder.mkdir(parents=True)
    (folder / "paper.yaml").write_text("papers: [g-stack]\ntitle: Growth\nclaim: it helps\n")
    (folder / "cpu.json").write_text('{"verdict": "undecided"}')
    written = {path.relative_to(tmp_path / "pages").as_posix(): path.read_text() for path in write(tmp_path / "pages", tmp_path / "papers")}
    assert "undecided (cpu)" in written["papers/index.md"] and "# g-stack" in written["papers/g-stack.md"]
    for slot, kind in by_name().items():
        page = written[f"parts/{registry.folder_of(slot)}.md"]
        assert re.findall(r"^## (.+)$", page, re.MULTILINE) == sorted(registry.names(kind))
    for page, text in written.items():
        for target in re.findall(r"\]\(([\w./-]+\.md)", text):
            assert (tmp_path / "pages" / page).parent.joinpath(target).exists(), f"{page} links to {target}"


def test_effective_flops_stand_where_a_structure_makes_them_others() -> None:
    result = example()
    for arm in (result["baseline"], *result["arms"].values()):
        arm |= {"flops": 2e12, "effective_flops": 2e12}
    assert "effective FLOPs" not in tables.costs(Reading(result)).columns
    result["arms"]["wsd"]["effective_flops"] = 1e12
    table = tables.costs(Reading(result))
    assert table.columns[2] == "effective FLOPs" and {len(row) for row in table.rows} == {len(table.columns)}


def test_numbers_in_a_template_come_from_the_results() -> None:
    result = example()
    name = next(iter(result["arms"]))
    text = filled(f"It {{{{example: {name}}}}}", {"example": result})
    assert text.startswith("It ") and "{" not in text and len(text) > 20
    table = filled("{{example: *}}", {"example": result})
    assert table.startswith("| arm | forgetting") and (table.count("\n") > 1) == bool(result.get("transfer"))
    with pytest.raises(UserError, match="did you mean"):
        filled(f"{{{{exampel: {name}}}}}", {"example": result})
    with pytest.raises(UserError, match="no such arm"):
        filled("{{example: nobody}}", {"example": result})
    entry = {"role": "kept", "before": 1.2, "after": 1.1, "change_after": {"mean": -0.083, "low": -0.1, "high": -0.06}}
    adapted = {"adapted": {"kind": "adaptation", "sources": {"news": entry}}}
    assert filled("{{adapted: news}}", adapted) == "Bits per byte of news (kept) fell: from 1.2000 to 1.1000 (−8.30%, −10.00% to −6.00%)."
    with pytest.raises(UserError, match=r"did you mean.*news"):
        filled("{{adapted: new}}", adapted)
