"""Papers that are judged by a law, of a table beside them or of the runs of their study."""

import inspect
import textwrap

import pytest

from windtunnel.commands.law_tables import COMMANDS
from windtunnel.commands.main import main
from windtunnel.core.errors import UserError
from windtunnel.laws import OF_TABLES
from windtunnel.laws.advantage import planted_table
from windtunnel.laws.claims import check_law, reproduce, table_of
from windtunnel.report.atlas import document, entries
from windtunnel.report.expectations import expected
from windtunnel.report.reading import Reading
from windtunnel.study.claims import Expectation, FittedLaw, decide, number_of
from windtunnel.study.expectations import judge
from windtunnel.study.lenient import as_result
from windtunnel.study.papers import list_papers, load_paper, measured

PLANTED = """\
    papers: [two-bits]
    title: Two bits a parameter
    year: 2024
    claim: A parameter holds two bits.
    laws:
      rate:
        law: {capacity: {size: parameters, bits: bits, most: there, draws: 200}}
        table: models.csv
        source: planted here, no licence needed
    expect:
      - {law: rate, number: bits_per_parameter, between: [1.5, 2.5], note: two in the paper}
      - {law: rate, number: largest_left_out/error, between: [0.9, null]}
    scales: {table: {}}
"""


def planted(folder, text=PLANTED):
    home = folder / "laws" / "two-bits"
    home.mkdir(parents=True, exist_ok=True)
    (home / "paper.yaml").write_text(textwrap.dedent(text), encoding="utf-8")
    sizes = (1e4, 3e4, 1e5, 3e5)
    rows = [f"{size:g},{min(2 * size, most) * (1 - 0.001 * k):g},{most:g}" for k, size in enumerate(sizes) for most in (5e3, 1e6, 4e6)]
    (home / "models.csv").write_text("parameters,bits,there\n" + "\n".join(rows) + "\n")
    return home / "paper.yaml"


def test_a_paper_of_a_table_is_judged_by_its_law_and_shown(tmp_path, capsys):
    file = planted(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(["reproduce", str(file)])
    assert not ended.value.code and "bits per parameter" in capsys.readouterr().out
    paper = load_paper(file)
    result = measured(paper)["table"]
    first, second = result.expectations
    assert first.verdict == "reproduced" and first.improvement.low < 2 < first.improvement.high + 0.01
    assert (second.verdict, result.verdict, second.improvement.low) == ("not reproduced",) * 2 + (second.improvement.mean,)
    assert result.laws["rate"]["source"] == "planted here, no licence needed" and result.versions and not result.runs
    table = expected(Reading(result))
    assert table.columns[:4] == ("law", "expected", "in", "number") and table.rows[1][1] == "at least 0.9"
    assert "1 of 2" in document(entries([paper])) and "rate: bits_per_parameter" in document(entries([paper]))
    with pytest.raises(SystemExit):
        main(["check", str(file)])
    assert "fits its laws in seconds" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("{capacity:", "{capacities:"), "did you mean 'capacity'"),
        (("size: parameters", "sizes: parameters"), "did you mean 'size'"),
        (("size: parameters, ", ""), "capacity needs 'size'"),
        (("law: rate, number: bits_per_parameter", "law: rat, number: bits_per_parameter"), "did you mean 'rate'"),
        (("number: bits_per_parameter", "number: bits_per_parametre"), "did you mean 'bits_per_parameter'"),
        (("source: planted here, no licence needed", ""), "needs its source with the licence"),
        (("table: models.csv", "table: ../models.csv"), "must lie beside"),
        (("law: rate, number: bits_per_parameter", "arm: wide, number: bits_per_parameter"), "what is expected of an arm"),
        ((", between: [1.5, 2.5]", ""), "what it lies .between."),
        (("scales: {table: {}}", "scales: {table: {}, gpu: {}}"), "there is one scale"),
    ],
)
def test_what_is_wrong_in_a_law_is_said(tmp_path, change, said):
    assert change[0] in PLANTED
    with pytest.raises(UserError, match=said):
        reproduce(planted(tmp_path, PLANTED.replace(*change, 1)), "table", tmp_path)


def test_an_interval_must_lie_between_and_a_number_that_is_not_known_decides_nothing():
    inside = Expectation(law="a", number="b", between=(0.3, 0.4))
    assert [decide(inside, *ends) for ends in ((0.31, 0.39), (0.41, 0.5), (0.35, 0.5), (None, 0.35))] == [
        "reproduced",
        "not reproduced",
        "undecided",
        "undecided",
    ]
    assert decide(Expectation(law="a", number="b", between=(None, 0.4)), 0.1, 0.2) == "reproduced"
    told = {"parameters": {"a": {"value": 1.0}}, "levels": [{"x": None}], "a": 3}
    assert number_of(told, "a") == {"value": 1.0} and number_of(told, "levels/0/x") is None
    with pytest.raises(UserError, match="no '1'"):
        number_of(told, "levels/1/x")


def runs():
    def run(arm, seed, loss, **more):
        points = [{"step": step, "tokens": 10.0 * step, "numbers": {"nats": loss + 1 / step}} for step in (1, 2)]
        about = {"arm": arm, "seed": seed, "status": "finished", "test": {"nats": loss}, "totals": {"tokens": 20.0}}
        return {**about, "folder": f"{arm}{seed}", "validation": points, **more}

    return as_result(
        {
            "study": {"metric": "nats", "confidence": 0.95},
            "baseline": {"parameters": 100.0},
            "arms": {"wide": {"parameters": 200.0}},
            "runs": [run("baseline", 0, 2.0), run("wide", 0, 1.5), run("wide", 1, 9.0, status="failed")],
        }
    )


def test_a_table_of_runs_says_what_was_measured_and_what_the_paper_says_of_the_arm():
    law = {"chinchilla": {}}
    text = table_of(runs(), FittedLaw(law=law, columns={"wide": {"share": 0.5}}))
    assert text.splitlines() == [
        "arm,multiple,seed,run,parameters,tokens,nats,share",
        "baseline,1,0,baseline-1-0,100,20,2,",
        "wide,1,0,wide-1-0,200,20,1.5,0.5",
    ]
    text = table_of(runs(), FittedLaw(law=law, rows="evaluations", arms=("wide",)))
    heading, *rows = text.splitlines()
    assert heading.endswith("step,tokens,flops,nats") and [row.split(",")[-1] for row in rows] == ["2.5", "2"]
    with pytest.raises(UserError, match="did you mean 'wide'"):
        table_of(runs(), FittedLaw(law=law, arms=("wade",)))


def test_each_number_of_a_run_can_be_a_row():
    each = FittedLaw(law={"frequency": {}}, arms=("wide",), each={"nats": {"count": 3}, "tokens": {"count": 40}})
    assert table_of(runs(), each).splitlines() == [
        "arm,multiple,seed,run,parameters,tokens,nats,number,measured,count",
        "wide,1,0,wide-1-0,200,20,1.5,nats,1.5,3",
        "wide,1,0,wide-1-0,200,20,1.5,tokens,20,40",
    ]
    with pytest.raises(UserError, match="did you mean 'nats'"):
        table_of(runs(), each.model_copy(update={"each": {"nat": {}}}))


def test_a_paper_may_expect_something_of_arms_and_of_laws(tmp_path):
    [paper] = [paper for paper in list_papers() if paper.name == "g-stack"]
    law = FittedLaw(law={"chinchilla": {}})
    both = paper.model_copy(update={"expect": (Expectation(law="x", number="alpha", between=(0.0, 1.0)),), "laws": {"x": law}})
    found = judge(both, "cpu", runs(), {"x": {"parameters": {"alpha": {"value": 0.5, "low": 0.4, "high": 2.0}}}})
    assert found.verdict == "undecided" and found.expectations[0].improvement.high == 2.0


def test_every_law_of_tables_is_a_command_and_laws_of_papers_can_be_called():
    assert sorted(command.__name__.replace("_", "-") for command in COMMANDS) == list(OF_TABLES)
    for paper in list_papers():
        for name, claim in paper.laws.items():
            assert next(iter(inspect.signature(check_law(paper, name)).parameters)) == "path"
            assert not claim.table or (paper.file.parent / claim.table).is_file()


def test_the_planted_risks_that_are_committed_are_those_of_the_function():
    [paper] = [paper for paper in list_papers() if paper.name == "pretrain-advantage-theory"]
    rows = (paper.file.parent / "planted.csv").read_text().splitlines()
    for row, informative in zip(planted_table((100,), (400,), range(100, 140)).splitlines()[1:], ("yes", "no"), strict=True):
        [mine] = [one for one in rows if one.startswith(f"{informative},100,400,")]
        assert float(row.split(",")[-1]) == pytest.approx(float(mine.split(",")[-1]), rel=1e-4)
