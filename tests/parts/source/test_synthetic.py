"""Sources that make documents by a rule: what they say is true, and fewer documents are the beginning of more."""

from __future__ import annotations

import re

import pytest

from windtunnel.core.registry import make
from windtunnel.data.corpus.tally import Tally
from windtunnel.slots import Source

ALL = ["addition", "gapped-copy", "lego-chains", "two-hop", "dyck", "remarks", "urns", "rewrite", "made-up-people"]


def texts(name: str, **knobs: object) -> list[str]:
    return [text for text, _ in make(Source, {name: {"count": 60, **knobs}}).documents(Tally("x"))]


@pytest.mark.parametrize("name", ALL)
def test_documents_depend_on_their_number_and_seed_alone(name):
    assert texts(name, count=20) == texts(name)[:20] != texts(name, count=20, seed=1)
    assert make(Source, name).signature() == "rules 1" and len(set(texts(name))) > 25


def test_sums_are_right_in_every_form():
    for text in texts("addition"):
        first, second, total = map(int, re.fullmatch(r"(\d+)\+(\d+)=(\d+)\n", text).groups())
        assert first + second == total
    for text in texts("addition", form="reversed"):
        first, second, total = re.fullmatch(r"\$(\d+)\+(\d+)=(\d+)\$\n", text).groups()
        assert int(first) + int(second) == int(total[::-1])
    for text in texts("addition", form="steps"):
        head, *places, total = text.split()
        digits = [re.fullmatch(r"A->(\d),C->(\d)", place).groups() for place in places]
        assert str(int(digits[-1][1] + "".join(digit for digit, _ in reversed(digits)))) == total == str(eval(head[:-1]))


def test_rules_rewrite_the_first_place_or_leave_the_string():
    left_alone = 0
    for text in texts("rewrite", symbols=4, length=6, absent=0.4):
        rule, problem = text.replace(" ", "").split(":")
        left, right = rule.split(">")
        before, after = problem.split("=")
        assert after == before.replace(left, right, 1) and len(left) == len(right) == 2 and len(before) == 6
        left_alone += left not in before
    assert 12 < left_alone < 36
    rules = [{text.split(":")[0] for text in texts("rewrite", distinct=3, pool=pool)} for pool in (0, 1)]
    assert [len(each) for each in rules] == [3, 3] and not rules[0] & rules[1]
    assert len({text.split(":")[0] for text in texts("rewrite")}) > 50
    for text in texts("rewrite", side=1, symbols=2, length=60, absent=1.0):  # one string of two to the sixtieth
        assert text[1] not in text.split(":")[1]
    with pytest.raises(ValueError, match="do not fit"):
        texts("rewrite", side=8)


def test_copies_are_copies():
    for text in texts("gapped-copy", length=5, gap=3):
        word, again = re.fullmatch(r"([a-z]{5})\|\.{0,3}\|([a-z]{5})\n", text).groups()
        assert word == again


@pytest.mark.parametrize("depth", [1, 4])
def test_chains_resolve_to_what_they_say(depth):
    for text in texts("lego-chains", depth=depth, length=4):
        clauses, _, answer = text.strip().partition(" : ")
        known = {"1": 1}
        said = [(left, -1 if right[0] == "-" else 1, right[1:]) for left, _, right in (clause.partition("=") for clause in clauses.split())]
        for _ in said:
            known |= {left: sign * known[right] for left, sign, right in said if right in known}
        name, _, value = answer.partition("=")
        assert known[name] == int(value) and len(known) == 5
    with pytest.raises(ValueError, match="beyond the chain"):
        make(Source, {"lego-chains": {"depth": 9}})


def test_what_is_inferred_follows_from_atomic_facts():
    world = {"entities": 12, "relations": 3, "count": 400}
    atomic = {tuple(text.split()[:2]): text.split()[2] for text in texts("two-hop", **world)}
    followed = [text.split() for text in texts("two-hop", facts="inferred", **world)]
    checked = [one for one in followed if (one[0], one[1]) in atomic and (atomic[one[0], one[1]], one[2]) in atomic]
    assert len(checked) > 100 and all(atomic[atomic[one[0], one[1]], one[2]] == one[3] for one in checked)


def test_people_are_told_of_as_often_as_asked_and_never_otherwise():
    told = [text.split("=") for text in texts("made-up-people", letters=3, answers=676, tellings=4, lead=3)]
    known = {(before.split()[-1], answers) for before, answers in told}
    assert len(known) == len({name for name, _ in known}) == 15
    assert all(re.fullmatch(r"[a-z]{3}", name) and re.fullmatch(r"[a-z]{2} [a-z]{2}\n", answers) for name, answers in known)
    assert len({before for before, _ in told}) == 60, "documents about a person begin in other words"
    for text in texts("made-up-people", letters=3, attributes=1, answers=26, tellings=4, lead=1, shown=True):
        shown, asked = text.split(":")
        assert shown.split()[-1] == asked.split("=")[0].split()[-1] and asked.split()[0] == asked.split("=")[1].strip()
    assert len({text for text in texts("made-up-people", letters=6, attributes=1, answers=2)}) == 60
    assert {text[-2] for text in texts("made-up-people", attributes=1, answers=2)} == {"a", "b"}


def test_facts_are_asked_for_in_sixteen_ways_or_in_one():
    world = {"entities": 12, "relations": 3, "count": 400}
    plain = {tuple(text.split()[:2]): text.split()[2] for text in texts("two-hop", **world)}
    asked, mixed = ([text.split() for text in texts("two-hop", style=style, **world)] for style in ("asked", "mixed"))
    assert all([*one[:2], *one[3:]] == [*one[:2], "=", plain[tuple(one[:2])], "!"] and one[2] == "?" for one in asked)
    assert all(one[4] == plain[tuple(one[:2])] for one in mixed) and len({(one[3], one[5]) for one in mixed}) == 16
    assert len(texts("two-hop", style="asked", facts="inferred")[0].split()) == 7


def test_brackets_match_and_stay_within_the_depth():
    depths = []
    for text in texts("dyck", depth=3, length=20):
        open_: list[str] = []
        for mark in text.strip():
            if mark in "([{<":
                open_.append(mark)
            else:
                assert open_.pop() + mark in ("()", "[]", "{}", "<>")
            depths.append(len(open_))
        assert not open_ and len(text.strip()) == 20
    assert max(depths) == 3
