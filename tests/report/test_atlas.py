"""The atlas of papers."""

import json
import re

import pytest

from windtunnel.commands.main import main
from windtunnel.core.errors import UserError
from windtunnel.report.atlas import document, drawing, entries
from windtunnel.study.known import KnownPaper, known_papers, not_built
from windtunnel.study.papers import list_papers, load_paper
from windtunnel.study.surveys import load_surveys


@pytest.fixture(scope="module")
def found():
    return entries(list_papers())


def rows(text: str) -> dict[str, str]:
    return {re.sub("<.*?>", "", row.split("</th>")[0]): row for row in re.findall(r"<tr data.*?</tr>", text, re.DOTALL)}


def test_every_paper_has_a_row_and_what_was_measured_is_in_it(found):
    text = document(found)
    shown = rows(text)
    assert "<script" not in text
    assert set(shown) == {paper.name for paper in list_papers()}
    [stack] = [entry for entry in found if (entry.paper.name, entry.scale) == ("g-stack", "cpu")]
    at_cpu = rows(document([stack]))["g-stack"]  # other scales of it have rows of their own
    assert at_cpu in text
    first = stack.result.expectations[0].improvement
    assert f"+{100 * first.mean:.1f}% (+{100 * first.low:.1f}% to +{100 * first.high:.1f}%)" in at_cpu
    verdicts = [finding.verdict for finding in stack.result.expectations]
    assert f"<td>{verdicts.count('reproduced')} of {len(verdicts)}</td>" in at_cpu
    assert f'data-area="weights" data-outcome="{stack.result.verdict}"' in at_cpu


def test_a_paper_without_results_is_not_flown_and_one_flown_elsewhere_is(tmp_path):
    [paper] = [paper for paper in list_papers() if paper.name == "g-stack"]
    result = json.loads(paper.result_file("cpu").read_text())
    (tmp_path / "g-stack").mkdir()
    (tmp_path / "g-stack" / "gpu.json").write_text(json.dumps({**result, "scale": "gpu", "verdict": "reproduced"}))
    before = {entry.scale: entry.outcome for entry in entries([paper])}
    after = {entry.scale: entry.outcome for entry in entries([paper], [tmp_path])}
    assert after == {**before, "gpu": "reproduced"}
    counted = f"1 of them flown (at {len(after)} scales in all)"
    assert counted in document(entries([paper], [tmp_path])), "else the outcomes would not add up"
    (tmp_path / "g-stack.yaml").write_text(paper.file.read_text())
    assert [(entry.scale, entry.outcome) for entry in entries([load_paper(tmp_path / "g-stack.yaml")])] == [("cpu", "not flown")]


def test_what_nobody_has_built_has_a_row_until_a_paper_answers_it(found, tmp_path):
    assert {one.name for one in not_built([])} == {one.name for one in known_papers()}
    missing = not_built(list_papers())
    answered = {slug for paper in list_papers() for slug in paper.papers}
    assert len(known_papers()) == len({paper.name for paper in known_papers()}) == 344
    assert {paper.name for paper in missing} == {paper.name for paper in known_papers()} - answered
    assert "nobody has built" not in document(found, [one for one in missing if one.here]) + document(found)
    missing = [*missing, KnownPaper("unheard-of", "A Paper That Nobody Has Built", "data")]
    text = document(found, missing)
    surveys = [paper for paper in missing if paper.here]
    assert {paper.name for paper in surveys} == set(load_surveys().surveys) - answered
    assert 'data-outcome="survey"' in rows(text)["ptm-survey"] and f"{surveys[0].here} here" in rows(text)[surveys[0].name]
    assert f"; {len(missing) - len(surveys)} more that nobody has built" in text and set(rows(text)) >= {paper.name for paper in missing}
    assert 'data-outcome="not built"' in rows(text)["unheard-of"] and "not built" not in rows(text)["g-stack"]
    (tmp_path / "known.yaml").write_text("laws: {one: One}")
    assert [paper.area for paper in known_papers(tmp_path)] == ["laws"]
    (tmp_path / "known.yaml").write_text("lawz: {one: One}")
    with pytest.raises(UserError, match="did you mean 'laws'"):
        known_papers(tmp_path)


def test_an_interval_is_drawn_to_scale_and_cut_at_the_ends():
    assert 'M55.0 8.0H110.0"' in drawing(0.3, 0.0, None)
    assert 'cx="110.0"' in drawing(0.3, 0.0, None)
    assert 'cx="27.5"' in drawing(-0.1, -0.2, 0.0)


def test_the_command_writes_it_and_refuses_a_folder_that_is_not_there(tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["papers", "--area", "laws", "--atlas", str(tmp_path / "atlas.html")])
    built, missing = {paper.name for paper in list_papers(area="laws")}, {paper.name for paper in not_built(list_papers(), area="laws")}
    assert not ended.value.code and set(rows((tmp_path / "atlas.html").read_text())) == built | missing
    with pytest.raises(SystemExit):
        main(["papers", "--atlas", str(tmp_path / "a.html"), "--results", str(tmp_path / "none")])
    assert "there is no such folder" in capsys.readouterr().err
