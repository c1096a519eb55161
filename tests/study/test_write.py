"""Studies that are written for the user: they can be read again, and what cannot be written is said."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from example_result import example

from windtunnel.commands.main import main
from windtunnel.core.errors import UserError
from windtunnel.core.registry import make
from windtunnel.data.corpus.glance import glances
from windtunnel.data.corpus.split import content_key, fraction, group_key
from windtunnel.report.reading import Reading
from windtunnel.report.sources import sources
from windtunnel.slots import Source
from windtunnel.study import hours
from windtunnel.study.file import load_study, study_from
from windtunnel.study.write import _megabytes, named, which_sources
from windtunnel.train.prepare import prepare


def folder(path: Path, count: int = 5) -> Path:
    path.mkdir()
    for number in range(count):
        (path / f"{number}.txt").write_text(f'page {number}: "a wing" and more\n' * 3, encoding="utf-8")
    return path


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def command(*words: str) -> int:
    with pytest.raises(SystemExit) as end:
        main([str(word) for word in words])
    return int(end.value.code or 0)


def test_new_writes_a_study_that_can_be_read(tmp_path, capsys):
    notes, more = folder(tmp_path / "My Notes"), folder(tmp_path / "more")
    greetings = "".join(json.dumps({"text": f"hello {number}"}) + "\n" for number in range(60))
    (tmp_path / "my-notes.jsonl").write_text(greetings, encoding="utf-8")
    to = tmp_path / "studies" / "mine.yaml"
    assert command("new", notes, more, tmp_path / "my-notes.jsonl", "builtin:stdlib", "--to", to) == 0
    study = load_study(to)
    assert list(study.corpus) == ["my-notes", "more", "my-notes-2", "stdlib"] and study.corpus["more"] == str(more)
    text = to.read_text(encoding="utf-8")
    assert "5 documents" in text and 'the first begins: page 0: "a wing"' in text and study.race is not None
    assert command("new", notes, "--to", to) == 2 and "exists already" in capsys.readouterr().err


def test_new_holds_out_as_much_as_small_sources_need(tmp_path):
    """Ten documents of which none would fall into test, beside many: what is written can be split, and says for whose sake."""
    few, texts = tmp_path / "few", [f"letter {number} about the weather of that day" for number in range(200)]
    high = [text for text in texts if fraction(content_key(text)) > 0.25][:10]
    few.mkdir()
    for number, text in enumerate(high):
        (few / f"{number}.txt").write_text(text, encoding="utf-8")
    many = "".join(json.dumps({"text": text}) + "\n" for text in texts if text not in high)
    (tmp_path / "many.jsonl").write_text(many, encoding="utf-8")
    assert command("new", few, tmp_path / "many.jsonl", "--to", tmp_path / "study.yaml") == 0
    study = load_study(tmp_path / "study.yaml")
    split = study.resolved["baseline"].split
    assert split.test > 0.25 and prepare(study.resolved["baseline"], tmp_path / "cache").sizes("test")["few"]
    assert "no document of few would be" in (tmp_path / "study.yaml").read_text(encoding="utf-8")


def test_new_leaves_out_what_is_too_small_to_be_split(tmp_path, capsys):
    """Of three PDF files a third would have been held out, and of every other source too. Letters of the example stay as they are."""
    texts = [f"lettre {number}: le système à été vérifié\u2028ce jour-là" for number in range(200)]
    high = [text for text in texts if fraction(content_key(text)) > 0.25][:3]
    few = tmp_path / "few"
    few.mkdir()
    for number, text in enumerate(high):
        (few / f"{number}.txt").write_text(text, encoding="utf-8")
    many = "".join(json.dumps({"text": text}) + "\n" for text in texts if text not in high)
    (tmp_path / "many.jsonl").write_text(many, encoding="utf-8")
    assert command("new", few, tmp_path / "many.jsonl", "--to", tmp_path / "study.yaml") == 0
    assert "few: too few documents" in capsys.readouterr().out
    study, text = load_study(tmp_path / "study.yaml"), (tmp_path / "study.yaml").read_text(encoding="utf-8")
    assert list(study.corpus) == ["many"] and study.resolved["baseline"].split.test == 0.1 and f"  # few: {few}" in text
    assert "le système à été vérifié ce jour-là" in text and "on many?" in text
    only = tmp_path / "only"
    only.mkdir()
    for number, text in enumerate([text for text in texts if fraction(content_key(text)) > 0.6][:5]):
        (only / f"{number}.txt").write_text(text, encoding="utf-8")  # no share below one half would do
    assert command("new", only, few, tmp_path / "many.jsonl", "--to", tmp_path / "three.yaml") == 0
    assert list(load_study(tmp_path / "three.yaml").corpus) == ["many"]
    assert command("new", few, "--to", tmp_path / "alone.yaml") == 0
    assert list(load_study(tmp_path / "alone.yaml").corpus) == ["few"], "where there is nothing else"
    assert command("new", only, "--to", tmp_path / "only.yaml") == 2 and "too few documents" in capsys.readouterr().err
    assert not (tmp_path / "only.yaml").exists()


def test_sizes_are_written_without_exponents():
    assert [_megabytes(size) for size in (31_400, 2_500_000, 9_990_000, 42e6, 217e6, 4.3e9)] == ["0.031", "2.5", "10", "42", "217", "4,300"]


def test_documents_of_a_group_stand_where_their_group_does():
    source = make(Source, {"drawn-walks": {"count": 20}})
    keys = {group_key(f"walk {source.seed} {number}") for number in range(20)}
    assert glances({"walks": source})["walks"].positions() == sorted(map(fraction, keys))


def test_a_source_is_read_once_by_new(tmp_path, monkeypatch, capsys):
    """Its beginning serves the comments, every section that is weighed and the file; where time is short, it is said how."""
    known: list[dict] = []

    def offer(study, section, *rest):
        known.append(rest[-1])
        return hours.Offer(section, 0.0, (3600.0,) * 12, 1.0)

    monkeypatch.setattr(hours, "offer", offer)
    assert command("new", folder(tmp_path / "notes"), "--to", tmp_path / "study.yaml", "--hours", 0.5) == 2
    assert len(known) == 3 and all(one is known[0] and list(one) == ["notes"] for one in known)
    assert "new without --hours" in capsys.readouterr().err and not (tmp_path / "study.yaml").exists()
    assert glances({"notes": known[0]["notes"].source}, known[0])["notes"] is known[0]["notes"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path / "nowhere", "no such file or folder"),
        (lambda path: folder(path / "empty", 0), "it is empty"),
        (lambda path: written(path / "values.csv", "id,time,value\n" + "a,2020-01-01,3.5\n" * 9), "no text; fields: id, time, value"),
        (lambda path: written(folder(path / "pictures", 1) / "a.png", "\0").parent, "skipped: binary file: 1 (e.g. a.png: is"),
    ],
)
def test_new_refuses_what_holds_no_text_and_writes_nothing(tmp_path, capsys, make, message):
    assert command("new", make(tmp_path), "--to", tmp_path / "study.yaml") == 2
    assert message in capsys.readouterr().err and not (tmp_path / "study.yaml").exists()


def test_new_says_which_column_is_the_text_and_what_became_of_the_rest(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rows = "".join(f"{number};wing {number};The {number}. wing is made of spruce and cloth.\n" for number in range(30))
    Path("tickets.csv").write_text(f"id;subject;body\n{rows}", encoding="utf-8")
    pages = folder(tmp_path / "pages, old")
    (pages / "a.css").write_text("h1 { color: red }")
    for number in range(8):
        (pages / f"b{number}.html").write_text(f"<html><body><p>page {number} of wings</p></body></html>")
    (pages / "c.png").write_bytes(b"\x89PNG\0\0")
    assert command("new", "tickets.csv", "pages, old", "--to", "study.yaml") == 0
    text = Path("study.yaml").read_text(encoding="utf-8")
    read = load_study(Path("study.yaml")).corpus
    assert read == {"tickets": {"files": {"path": "tickets.csv", "field": "body"}}, "pages-old": "pages, old"}
    assert "'body' is taken" in text and "# HTML documents: text extracted (8)" in text and "# left out: binary file (1)" in text
    alone = re.search(r"# the pages alone: (.*)", text)
    assert alone and yaml.safe_load(alone[1]) == {"pages-old": {"files": {"path": "pages, old", "glob": "**/*.html"}}}


def test_names_come_from_paths(tmp_path):
    assert named([folder(tmp_path / "a.b c")]) == {"a": str(tmp_path / "a.b c")}
    with pytest.raises(UserError, match="named twice"):
        named([tmp_path / "a.b c", tmp_path / "a.b c" / "."])


def test_each_source_is_left_out_and_drawn_more_often():
    corpus = {"wiki": "builtin:stdlib", "mail": "builtin:docstrings"}
    raw = which_sources(corpus, target={"tickets": "tickets.txt"}, sizes={"wiki": 3e6, "mail": 1e6}, shares=(0, 0.5, 3))
    study = study_from(raw, name="which-sources")
    assert study.primary == "bits_per_byte/tickets"
    shares = {arm: recipe.phases[0].mixture.shares for arm, recipe in study.written.items()}
    assert shares == {
        "baseline": {"wiki": 0.75, "mail": 0.25},
        "without-wiki": {"wiki": 0.0, "mail": 0.25},
        "half-wiki": {"wiki": 0.375, "mail": 0.25},
        "wiki-times-3": {"wiki": 2.25, "mail": 0.25},
        "without-mail": {"wiki": 0.75, "mail": 0.0},
        "half-mail": {"wiki": 0.75, "mail": 0.125},
        "mail-times-3": {"wiki": 0.75, "mail": 0.75},
    }


@pytest.mark.parametrize(
    ("corpus", "more", "message"),
    [
        ({"one": "builtin:stdlib"}, {}, "two sources or more"),
        ({"one": "builtin:stdlib", "two": "builtin:docstrings"}, {"shares": (1.0,)}, "none of them 1"),
        ({"one": "builtin:stdlib", "two": "builtin:docstrings"}, {"decides": "tow"}, "--decides tow: no source is called so"),
    ],
)
def test_a_question_that_cannot_be_asked_is_refused(corpus, more, message):
    with pytest.raises(UserError, match=message):
        which_sources(corpus, sizes=dict.fromkeys(corpus, 1.0), **more)


def test_the_table_of_sources_has_a_column_a_source():
    result = example()
    for arm in result["arms"].values():
        arm.setdefault("numbers", {})["bits_per_byte/code"] = {"mean": 1.0, "difference": -0.1234, "low": -0.2, "high": -0.1}
    result["baseline"]["numbers"] = {"bits_per_byte/code": {"mean": 1.1}}
    table = sources(Reading(result))
    place = table.columns.index("code")
    assert [row[place] for row in table.rows] == ["−0.123 (−0.200 to −0.100)"] * len(result["arms"])
