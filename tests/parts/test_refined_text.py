"""Programs that clean documents: what they may say, what they do, and that nothing else ever happens."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from windtunnel.kits.text.programs import call_of, refined, removals
from windtunnel.parts.experiment.refined_text import RefinedText

TEXT = "\n".join(f"line {number} has some words" for number in range(8))


def test_lines_and_strings_go_as_the_program_says():
    found = refined(TEXT, 'remove_lines(line_start=1, line_end=2)\nnormalize(source_str="some ", target_str="many, (odd)=")\nkeep_all()')
    assert found.errors == 0 and found.text is not None
    assert found.text.split("\n")[:2] == ["line 0 has many, (odd)=words", "line 3 has many, (odd)=words"]
    assert refined(TEXT, "").text == TEXT and refined(TEXT, "drop_doc()").text is None
    assert refined(TEXT, "remove_lines(all=True)").why == "hardly a word is left"
    assert refined(TEXT, "remove_lines(line_start=0, line_end=5)").why == "ten words or fewer are left"


def test_a_program_that_fails_twice_changes_nothing():
    once = refined(TEXT, "remove_lines(line_start=1, line_end=1)\nremove_lines(line_start=2, line_end=99)")
    twice = refined(TEXT, "remove_lines(line_start=1, line_end=1)\nremove_lines(line_start=2, line_end=99)\nopen('x')")
    assert (once.errors, once.text == TEXT, twice.errors, twice.text) == (1, False, 2, TEXT)


@pytest.mark.parametrize(
    "line",
    [
        *("__import__('os').system('x')", "remove_lines(1, 2, 3, 4)", "remove_lines(line_start=2, line_end=1)", "normalize('')"),
        *("remove_lines(line_start=True, line_end=2)", "remove_lines(all=False)", "normalize(source_str=f'{1}')", "drop_doc"),
        *("remove_lines(line_start=-1, line_end=2)", "normalize(source_str='a', source_str='b')", "(" * 500, "drop_doc()" * 200),
    ],
)
def test_what_is_no_known_call_is_an_error(line):
    assert call_of(line) is None


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=80), st.text(max_size=120))
def test_any_program_leaves_a_part_of_the_text_or_nothing(text, program):
    found = refined(text, program)
    assert found.text is None or len(found.text) <= len(text) or "normalize" in program


@settings(max_examples=100, deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=30))
def test_runs_of_lines_are_removed_whole(lines):
    text = "\n".join(f"word {number} " + "and more " * 8 for number in range(len(lines) + 2))
    left = refined(text, "\n".join(removals([*lines, False, False]))).text
    kept = [line for line, gone in zip(text.split("\n"), [*lines, False, False], strict=True) if not gone]
    assert left is None or left.split("\n") == kept


def test_programs_find_what_was_put_in():
    knobs = {"documents": 80, "annotated": 100, "words": 4000}
    found = {how: RefinedText(how=how, **knobs).measure(122) for how in ("both", "raw", "perfect")}
    assert found["both"]["recall"] > 0.8 and found["both"]["precision"] > 0.7 and found["raw"]["recall"] == 0
    assert found["both"]["dropped"] > 0.3 and found["both"]["lost"] < 0.2
    assert found["perfect"]["recall"] == found["perfect"]["precision"] == 1
