"""A check of rates: what flies, what it says, and that it changes no verdict."""

from __future__ import annotations

from typing import Any

import pytest
from example_result import example
from rich.console import Console

from windtunnel.core.errors import UserError
from windtunnel.core.keys import Variant
from windtunnel.report import charts, markdown
from windtunnel.report.document import document
from windtunnel.report.rates import chart, sentences
from windtunnel.report.reading import Reading
from windtunnel.report.screen import terminal
from windtunnel.study.assemble import assemble
from windtunnel.study.file import study_from
from windtunnel.study.plan import plan
from windtunnel.study.result import BASELINE
from windtunnel.train.record import RunRecord

RAW: dict[str, Any] = {
    "corpus": {"code": "builtin:stdlib"},
    "baseline": {"model": {"depth": 2}},
    "arms": {"wsd": {"schedule": "wsd"}},
    "seeds": 3,
}


def study(**fields: Any) -> Any:
    return study_from({**RAW, **fields}, name="tried")


def entries(one: Any) -> list[Any]:
    return plan(one, one.resolved, dict.fromkeys(one.resolved, "text"), Variant())


def flown(one: Any, loss: Any, failed: Any = lambda entry: False) -> Any:
    """The result of a study whose runs end at ``loss(arm, rate, seed)``."""
    records = {}
    for entry in entries(one):
        known = {"test": {"bits_per_byte": loss(entry.arm, entry.rate, entry.seed)}, "primary": "bits_per_byte"}
        known["totals"] = {"tokens": 640, "flops": 1e9 * entry.multiple, "seconds": 1.0, "spikes": int(entry.rate)}
        known |= {"status": "failed", "failure": {"kind": "diverged", "message": "diverged"}} if failed(entry) else {"status": "finished"}
        records[entry.folder] = RunRecord(key=entry.key, seed=entry.seed, **known)
    about = {"name": "tried", "confidence": 0.95, "margin_share": 0.005, "curve": [0.5, 1.0, 2.0], "seed_list": [0, 1, 2]}
    return assemble(about, entries(one), records, one.resolved, {})


def test_baseline_and_arms_fly_at_other_rates_with_few_seeds_and_their_own_runs_stay():
    plain, checked = entries(study()), entries(study(rates=[2, 0.5]))
    assert checked[: len(plain)] == plain
    more = checked[len(plain) :]
    assert [(run.arm, run.rate, run.seed) for run in more] == [
        (arm, rate, seed) for rate in (0.5, 2.0) for arm in (BASELINE, "wsd") for seed in (0, 1)
    ]
    assert all(phase.rate_multiple == run.rate for run in more for phase in run.recipe.phases)
    assert len({run.folder for run in checked}) == len(checked)
    raced = study(rates={"multiples": [0.5], "seeds": 9}, seeds={"least": 3, "most": 6})
    assert raced.rate_seeds == (0, 1, 2) and raced.rates.multiples == (0.5,)


@pytest.mark.parametrize("rates", [[1, 2], [0, 2], [2, 2], []])
def test_multiples_that_make_no_sense_are_refused(rates):
    with pytest.raises(UserError, match="multiples of the learning rate"):
        study(rates=rates)


def test_other_rates_change_no_verdict():
    def loss(arm: str, rate: float, seed: int) -> float:
        return 2.0 + 0.01 * seed - (arm == "wsd") * (0.1 + 0.002 * seed) - 0.3 * (rate != 1)

    plain, checked = flown(study(), loss), flown(study(rates=[0.5, 2]), loss)
    assert checked.arms == plain.arms and checked.baseline == plain.baseline and checked.runs == plain.runs
    assert plain.rates is None and plain.progress.runs + 8 == checked.progress.runs


def test_an_arm_that_is_best_at_its_own_rate_at_the_end_of_those_tried_is_told():
    result = flown(study(rates=[0.5]), lambda arm, rate, seed: 2.0 + (1 - rate if arm == "wsd" else rate) + 0.01 * seed)
    assert any(line.startswith("The best rate of baseline and wsd is the lowest or highest") for line in sentences(Reading(result)))


def test_a_win_that_the_baseline_has_at_another_rate_is_told(monkeypatch):
    monkeypatch.setattr(charts, "both", lambda make, shown, name, alternative, wide=0: f"<svg {name}>")  # drawing takes seconds

    def loss(arm: str, rate: float, seed: int) -> float:
        at = {BASELINE: {0.5: 2.0, 1.0: 2.1, 2.0: 2.3}, "wsd": {0.5: 2.0, 1.0: 1.98, 2.0: 2.2}}
        return at[arm][rate] + 0.01 * seed + 0.001 * (arm == "wsd") * seed

    result = flown(study(rates=[0.5, 2]), loss)
    assert result.arms["wsd"].verdict == "helps"
    over = result.rates.arms[BASELINE]
    assert over.best == 0.5 and [point.spikes for point in over.rates] == [0.0, 1.0, 2.0]
    assert result.rates.closed["wsd"] == pytest.approx(0.1 / 0.1195, rel=1e-6)
    told = sentences(Reading(result))
    assert "with 0.50 times its learning rate the baseline gains 84% of what this arm gains (mean of 2 seeds)" in told[0]
    assert "may be the rate" in told[0] and "The best rate of baseline is the lowest or highest" in told[1]
    console = Console(width=300)
    with console.capture() as shown:
        console.print(terminal(result))
    for text in (markdown(result), document(result), shown.get()):
        assert "may be the rate" in text
    assert "Loss against learning rate" in document(result) and "<svg rates>" in document(result)
    drawn = chart(Reading(result)).to_dict()
    assert [[point["x"] for point in layer["data"]["values"]] for layer in drawn["layer"]] == [[0.5, 1.0, 2.0]] * 4


def test_a_win_at_every_rate_is_not_one_of_rate():
    result = flown(study(rates=[0.5, 2]), lambda arm, rate, seed: 2.0 + 0.01 * seed + 0.1 * (rate != 1) - 0.2 * (arm == "wsd"))
    assert result.rates.closed["wsd"] == 0
    assert sentences(Reading(result)) == [
        "wsd: with another learning rate the baseline gains nothing (mean of 2 seeds), so the win is not one of rate."
    ]


def test_an_arm_that_would_win_at_another_rate_is_told_and_a_rate_that_fails_is_not_best():
    result = flown(
        study(rates=[0.5, 2]),
        lambda arm, rate, seed: 2.0 + 0.01 * seed + (arm == "wsd") * {0.5: -0.1, 1.0: 0.1, 2.0: -0.5}[rate],
        failed=lambda entry: entry.rate == 2.0 and entry.seed == 1,
    )
    assert result.arms["wsd"].verdict == "hurts" and result.rates.arms["wsd"].best == 0.5
    assert result.rates.arms["wsd"].rates[2].failed == 1
    assert "with 0.50 times its learning rate it is better than the baseline at any rate" in sentences(Reading(result))[0]


def test_before_all_rates_are_flown_nothing_is_said():
    assert sentences(Reading(example())) == []
