"""A study sized to the hours one has: which section, how many seeds, and what is said where nothing fits."""

from __future__ import annotations

import pytest

from windtunnel.core.errors import UserError
from windtunnel.study import hours
from windtunnel.study.file import study_from
from windtunnel.study.hours import ENOUGH, MOST, Offer, chosen, sections_of, sized


def offer(section, each, epochs=0.5, fixed=10.0):
    return Offer(section, fixed, (each,) * MOST, epochs)


def study(baseline, **more):
    raw = {"corpus": {"notes": "builtin:stdlib"}, "baseline": baseline, "arms": {"flat": {"schedule": "constant"}}, **more}
    return study_from(raw, name="mine")


def test_the_largest_section_that_leaves_room_for_enough_seeds():
    offers = [offer("L", 1000.0), offer("M", 100.0), offer("S", 10.0)]
    section, seeds, why = chosen(offers, 10 + 100 * ENOUGH + 50)
    assert (section, seeds) == ("M", ENOUGH)
    assert "section M, up to 6 seeds, about 10 min 10 s at most" in why and "section L would leave time for 0 of 6 seeds" in why
    assert chosen(offers, 10 + 100 * ENOUGH - 1)[:2] == ("S", MOST)
    assert chosen(offers, 10 + 1000 * ENOUGH)[:2] == ("L", ENOUGH)


def test_smaller_sections_are_not_looked_at_once_one_fits():
    def offers():
        yield offer("L", 1.0)
        raise AssertionError("asked for more than was needed")

    assert chosen(offers(), 100.0)[0] == "L"


def test_a_section_that_would_read_the_text_too_often_is_passed_over():
    section, _, why = chosen([offer("M", 1.0, epochs=9), offer("S", 1.0, epochs=9)], 3600.0)
    assert section == "S" and "section M would read a source 9 times" in why


def test_runs_that_are_there_already_cost_nothing():
    assert chosen([Offer(None, 10.0, (0.0, 0.0, 0.0, 50.0, 50.0), 1.0)], 70.0)[:2] == (None, 4)


def test_too_few_hours_say_how_many_would_do():
    with pytest.raises(UserError, match=r"two seeds of section S take about 33 min 30 s .* give --hours 0\.56") as error:
        chosen([offer("M", 9000.0), offer("S", 1000.0)], 1800.0)
    assert chosen([offer("S", 1000.0)], 3600 * 0.56)[:2] == ("S", 2), "what the message says does"
    assert "--budget tokens_per_parameter" in str(error.value)
    with pytest.raises(UserError, match="--hours 0: expected a number above 0"):
        sized(study({"section": "S"}), 0.0, None)


def test_a_model_of_ones_own_keeps_its_size():
    assert sections_of(study({"section": "M", "batch": 8})) == ("L", "M", "S")
    assert sections_of(study({"optimizer": "muon"})) == ("L", "M", "S")
    assert sections_of(study({"model": {"layers": 1, "width": 16}})) == (None,)


def test_what_was_chosen_is_kept_and_belongs_to_what_the_file_says(tmp_path, monkeypatch):
    asked = []

    def look(one, section, *rest):
        asked.append((section, one.budget.tokens_per_parameter, one.baseline["section"]))
        return offer(section, {"L": 900.0, "M": 300.0, "S": 30.0}[section])

    monkeypatch.setattr(hours, "offer", look)
    mine = study({"section": "S"}, budget={"tokens": 1000})
    found, said = sized(mine, 0.6, tmp_path, keep=False)
    assert not list(tmp_path.iterdir()), "check keeps nothing"
    found, said = sized(mine, 0.6, tmp_path)
    assert asked[-2:] == [("L", 20, "L"), ("M", 20, "M")]
    assert found.baseline["section"] == "M" and found.race.most == 7 and found.race.least == 3 and found.budget.tokens_per_parameter == 20
    assert said.startswith("0.6 hours: section M, up to 7 seeds")
    monkeypatch.setattr(hours, "hardware", lambda device: {"accelerator": "another one"})
    assert "decided on another machine" in sized(mine, 0.6, tmp_path)[1] and "to size it anew" in sized(mine, 0.6, tmp_path)[1]
    monkeypatch.undo()
    monkeypatch.setattr(hours, "offer", look)
    count = len(asked)
    again, said = sized(mine, 0.6, tmp_path)
    assert len(asked) == count and again.race == found.race and "decided when it was begun" in said
    sized(study({"section": "S", "batch": 8}), 0.6, tmp_path)
    assert len(asked) > count, "another study of that name is sized anew"


def test_few_seeds_are_not_raced():
    assert hours.with_seeds(study({"section": "S"}), 2).seed_list == (0, 1)
    assert hours.with_seeds(study({"section": "S"}), 2).race is None
