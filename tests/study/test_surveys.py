"""Which techniques of surveys are here."""

from __future__ import annotations

import json

import pytest

from windtunnel.commands.main import main
from windtunnel.core.errors import UserError
from windtunnel.core.shipped import checkout
from windtunnel.report.coverage import coverage_page, rows
from windtunnel.study.known import known_papers
from windtunnel.study.surveys import built_papers, load_surveys, told

SURVEYS = """\
surveys:
  one: {title: One, year: 2020, arxiv: "2001.00001"}
techniques:
  data:
    length: {surveys: [one], parts: [length]}
    other: {surveys: [one], papers: [quad, not-there]}
    device: {surveys: [one], setting: "--mesh"}
    nothing: {surveys: [one]}
"""


def test_what_surveys_name_is_there_or_is_said_not_to_be(tmp_path):
    (tmp_path / "surveys.yaml").write_text(SURVEYS)
    found = load_surveys(tmp_path)
    assert told("one", found, {"quad"}) == "3 of 4" and told("one", found, set()) == "2 of 4"
    assert [row[2] for row in rows(found, set())] == ["length", "not here: quad (not built), not-there (not built)", "--mesh", "not here"]
    for change, said in {("[length]", "[lenght]"): "did you mean 'length'", ("{surveys: [one]}", "{surveys: [two]}"): "'two'"}.items():
        (tmp_path / "surveys.yaml").write_text(SURVEYS.replace(*change))
        with pytest.raises(UserError, match=rf"surveys\.yaml:\d+: .*{said}"):
            load_surveys(tmp_path)


def test_the_surveys_are_known_and_their_papers_are():
    """A part that is renamed or a paper that is not known is told here."""
    surveys, known = load_surveys(), {paper.name for paper in known_papers()}
    named = {paper for group in surveys.techniques.values() for one in group.values() for paper in one.papers}
    assert set(surveys.surveys) | named <= known


def test_the_page_and_the_command_say_the_same(capsys):
    page = (checkout() / "docs" / "coverage.md").read_text()
    assert page == coverage_page(), "python -m windtunnel.report.catalogue docs"
    assert "\\`" not in page
    with pytest.raises(SystemExit) as ended:
        main(["papers", "--surveys", "--json"])
    found = json.loads(capsys.readouterr().out)
    here = sum(one["here"] for group in found["techniques"].values() for one in group.values() if "ptm-survey" in one["surveys"])
    assert not ended.value.code and told("ptm-survey", load_surveys(), built_papers()).startswith(f"{here} of ")
    with pytest.raises(SystemExit):
        main(["papers", "g-stack", "--surveys"])
    assert "shows all surveys" in capsys.readouterr().err
