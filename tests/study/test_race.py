"""Racing: which arms get more seeds, what each look says, and what a study that races flies, costs and reports."""

from __future__ import annotations

import random
from typing import Any

import pytest

from windtunnel.core.errors import UserError
from windtunnel.core.keys import Variant
from windtunnel.report.reading import Reading
from windtunnel.study import fly as module
from windtunnel.study import prior
from windtunnel.study.expectations import judge
from windtunnel.study.fly import check_study, fly_study, plan, study_from, summary
from windtunnel.study.launch import local
from windtunnel.study.launch.worker import perform
from windtunnel.study.papers import Paper
from windtunnel.study.race import LEAST_CHANCE, repeated, standing, widest
from windtunnel.study.result import StudyResult
from windtunnel.study.seeds import KnownNoise, Race
from windtunnel.study.statistics.compare import compare, interval
from windtunnel.study.statistics.sequential import boundary, repeated_confidence, repeated_interval
from windtunnel.train.estimate import estimate

RAW: dict[str, Any] = {
    "corpus": {"code": "builtin:stdlib"},
    "budget": {"flops": 1e9},
    "seeds": {"least": 3, "most": 12},
    "baseline": {"model": {"depth": 2, "width": 32, "heads": 2}, "context": 32, "batch": 4},
    "arms": {"wide": {"context": 64}, "loud": {"batch": 5}},
}


def study(**fields: Any) -> module.StudyFile:
    return study_from({**RAW, **fields}, name="raced")


# The file -----------------------------------------------------------------------------------------------------------------------


def test_a_race_has_its_first_look_after_the_least_seeds_and_its_last_after_the_most():
    assert Race().looks == (3, 6, 9, 12)
    assert Race(least=3, most=10).looks == (3, 6, 9, 10)
    assert Race(least=4, most=5).looks == (4, 5)
    found = study()
    assert found.race == Race(least=3, most=12) and found.seed_list == tuple(range(12))
    assert study(seeds=4).race is None and study(seeds=4).seed_list == (0, 1, 2, 3) and study(seeds=[5, 7]).seed_list == (5, 7)


@pytest.mark.parametrize(
    ("seeds", "message"),
    [
        ({"least": 1}, r"seeds\.least: expected a number of at least 2, not 1"),
        ({"least": 6, "most": 6}, r"seeds: most is 6 and least 6: .*seeds: 6"),
        ({"lest": 3}, r"seeds.*'lest'.*least"),
        ({"noise": {"sd": 0, "freedom": 3}}, r"seeds\.noise\.sd: expected a number above 0"),
        (0, r"seeds: .*at least one seed"),
        ([1, "x"], r"seeds\.1: .*whole number"),
    ],
)
def test_what_is_wrong_with_seeds_is_said_where_it_stands(seeds, message):
    with pytest.raises(UserError, match=message) as caught:
        study(seeds=seeds)
    assert "function-" not in str(caught.value)


# Looks --------------------------------------------------------------------------------------------------------------------------

REFERENCE = {seed: 3.0 + random.Random(seed).gauss(0, 0.05) for seed in range(12)}


def arm(effect: float, sd: float, seeds: int = 12, shift: int = 0) -> dict[int, float]:
    return {seed: REFERENCE[seed] + effect + random.Random(f"own {seed + shift}").gauss(0, sd) for seed in range(seeds)}


def stand(values, settled=12, race=None, arms=1, curve=None, **options):
    options = {"confidence": 0.95, "margin": 0.005, **options}
    return standing(race or Race(), "arm", values, curve or {1.0: REFERENCE}, settled=settled, arms=arms, **options)


def test_a_clear_arm_stops_at_the_first_look_and_a_drowned_one_when_it_has_no_chance():
    clear, drowned = stand(arm(-0.3, 0.003)), stand(arm(0.0, 1.0))
    assert (clear.planned, clear.open, clear.stopped, clear.block["verdict"]) == (3, False, "decided", "helps")
    assert drowned.stopped == "hopeless" and drowned.block["verdict"] == "undecided" and drowned.planned < 12
    assert drowned.looks[-1]["chance"] < LEAST_CHANCE <= min((look["chance"] for look in drowned.looks[:-1]), default=1.0)
    same = stand(arm(0.0, 0.002))
    assert same.block["verdict"] == "no difference" and same.stopped == "decided"


def test_a_look_holds_the_repeated_interval_and_never_that_of_a_fixed_number_of_seeds():
    values = arm(-0.05, 0.04)
    found = stand(values)
    for index, look in enumerate(found.looks):
        seeds = range(look["seeds"])
        level = repeated_confidence([one["seeds"] for one in found.looks[: index + 1]], 12, 0.95)
        expected = compare({1.0: {s: REFERENCE[s] for s in seeds}}, {"arm": {s: values[s] for s in seeds}}, confidence=level)["arms"]["arm"]
        assert (look["low"], look["high"]) == pytest.approx((expected["low"], expected["high"]))
    assert all(found.block[key] == found.looks[-1][key] for key in ("difference", "low", "high", "verdict"))
    fixed = compare({1.0: REFERENCE}, {"arm": values}, confidence=0.95)["arms"]["arm"]
    assert found.block["high"] - found.block["low"] > fixed["high"] - fixed["low"]


def test_the_interval_of_the_compute_gain_holds_after_looking_too():
    curve = {multiple: {s: v - 0.1 * (multiple - 1) for s, v in REFERENCE.items()} for multiple in (0.5, 1.0, 2.0)}
    found = stand(arm(-0.05, 0.01), curve=curve)
    counts = [look["seeds"] for look in found.looks]
    first = {multiple: {s: v for s, v in values.items() if s < counts[-1]} for multiple, values in curve.items()}
    own = {s: v for s, v in arm(-0.05, 0.01).items() if s < counts[-1]}
    expected = compare(first, {"arm": own}, confidence=repeated_confidence(counts, 12, 0.95))["arms"]["arm"]["compute_gain"]
    assert found.block["compute_gain"] == pytest.approx(expected)
    assert expected["low"] < compare(first, {"arm": own})["arms"]["arm"]["compute_gain"]["low"]


def test_later_seeds_change_no_earlier_look():
    values = arm(-0.03, 0.05)
    whole = stand(values)
    assert len(whole.looks) >= 2
    for index, look in enumerate(whole.looks[:-1]):
        before = stand({s: v for s, v in values.items() if s < look["seeds"]}, settled=look["seeds"])
        assert before.looks == whole.looks[: index + 1] and before.open and before.planned == look["seeds"] + 3
        assert before.block["verdict"] is None


def test_a_look_waits_for_every_seed_of_its_group():
    found = stand(arm(-0.3, 0.003), settled=2)
    assert (found.planned, found.open, found.looks) == (3, True, ())
    assert found.block["low"] is None and found.block["verdict"] is None, "an interval before a look would be a look"


def test_several_arms_share_the_error():
    values = arm(-0.2, 0.03)
    one, many = stand(values, settled=3), stand(values, settled=3, arms=8)
    width = [found.looks[0]["high"] - found.looks[0]["low"] for found in (one, many)]
    assert width[1] / width[0] == pytest.approx(boundary([3], 12, 1 - 0.05 / 8) / boundary([3], 12, 0.95))


def test_seeds_that_failed_are_missing_pairs_and_spend_less():
    values = {seed: value for seed, value in arm(-0.01, 0.05).items() if seed not in (1, 4)}
    found = stand(values)
    assert [look["seeds"] for look in found.looks][:2] == [2, 4]
    assert found.looks[1]["high"] - found.looks[1]["difference"] > 0
    lone = stand({0: 2.9, 5: 2.9, 6: 2.8})
    assert [look["seeds"] for look in lone.looks][:1] == [2], "the first look has one pair, which says nothing"


def test_an_arm_whose_runs_all_failed_gets_no_more():
    found = stand({}, settled=3)
    assert (found.open, found.planned, found.block["verdict"], found.looks) == (False, 3, "failed", ())
    without = stand(arm(0.0, 0.1), settled=3, curve={1.0: {}})
    assert (without.open, without.planned, without.block["verdict"]) == (False, 3, "undecided")


def test_known_noise_decides_sooner_unless_the_arm_is_noisier():
    values = arm(-0.02, 0.01)
    race = Race(noise=KnownNoise(sd=0.01, freedom=20))
    plain, known = stand(values), stand(values, race=race)
    assert known.looks[0]["prior"] and known.looks[0]["high"] < plain.looks[0]["high"]
    assert known.block["verdict"] == "helps" and known.planned == 3 < plain.planned
    noisy = stand(arm(-0.05, 0.2), race=race)
    assert not noisy.looks[0]["prior"]
    assert noisy.looks[0]["high"] == stand(arm(-0.05, 0.2)).looks[0]["high"]


def test_numbers_that_the_race_does_not_rest_on_get_intervals_that_hold_after_looking():
    race = Race()
    assert repeated(None, range(6), 0.9) == widest(None, 0.9) == 0.9
    assert repeated(race, range(6), 0.9) == repeated_confidence([3, 6], 12, 0.9)
    assert repeated(race, [0, 2, 3, 4], 0.9) == repeated_confidence([2, 4], 12, 0.9)
    assert repeated(race, [0], 0.9) == 0.9
    assert widest(race, 0.9) >= max(repeated(race, range(n), 0.9) for n in (3, 6, 9, 12))


# Studies ------------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def fly(stream, monkeypatch, tmp_path):
    """Fly a study with a stand-in for training in this process; ``fly.jobs`` are those of each launch."""
    launches: list[list[Any]] = []

    def inline(jobs, *, on_event, **_):
        launches.append(list(jobs))
        records = {}
        for one in jobs:
            records[one.folder] = perform(one, threads=1, device="cpu", report=lambda _: None, stop=lambda: False)
            on_event(records[one.folder].status, one, records[one.folder])
        return records

    monkeypatch.setattr(local, "fly_jobs", inline)
    monkeypatch.setattr("windtunnel.train.prepare.prepare", lambda recipe, cache, *more: stream)

    def call(found, **options):
        return fly_study(found, tmp_path / "out", workers=1, quiet=True, function="study_fakes:loud", **options)

    call.launches = launches
    return call


def flights(jobs) -> set[tuple[str, int]]:
    return {(job.labels["arm"], job.seed) for job in jobs}


def test_a_race_flies_the_next_group_only_for_open_arms_and_the_baseline(fly):
    result = fly(study(curve=[1.0]))
    wide, loud = result.arms["wide"], result.arms["loud"]
    assert wide.stopped == "decided" and wide.verdict == "helps"
    assert loud.planned != wide.planned, "they are to differ, or the test shows nothing"
    assert flights(fly.launches[0]) == {(name, seed) for name in ("baseline", "wide", "loud") for seed in range(3)}
    for number, jobs in enumerate(fly.launches):
        group = range(3 * number, 3 * number + 3)
        flying = {"baseline", *(name for name, one in result.arms.items() if one.planned > 3 * number)}
        assert flights(jobs) == {(name, seed) for name in flying for seed in group}
    most = max(wide.planned, loud.planned)
    assert len(fly.launches) == most / 3
    assert result.finished and result.progress.runs == result.progress.finished == wide.planned + loud.planned + most
    assert (wide.seeds, loud.seeds, result.baseline.seeds) == (wide.planned, loud.planned, most)
    assert result.study.race == {"least": 3, "most": 12, "noise": None} and result.study.seeds == 12


def test_a_race_that_goes_on_comes_to_the_same_looks_and_flies_nothing_twice(fly, monkeypatch):
    class Stopped(Exception):
        pass

    seen = []

    def heard(event):
        seen.append(event)
        if event["event"] == "finished" and len(seen) == 11:
            raise Stopped

    with pytest.raises(Stopped):
        fly(study(curve=[1.0]), on_event=heard)
    begun = sum(map(len, fly.launches))
    whole = fly(study(curve=[1.0]))
    assert fly(study(curve=[1.0])).arms == whole.arms
    everything = {(job.labels["arm"], job.seed) for jobs in fly.launches for job in jobs}
    assert whole.finished and len(everything) == whole.progress.runs
    assert begun < whole.progress.runs


def test_a_study_of_fixed_seeds_is_what_it_was(fly):
    result = fly(study(seeds=3))
    assert len(fly.launches) == 1 and result.study.race is None
    assert all(one.looks == [] and one.stopped is None and one.planned is None for one in result.arms.values())


def test_a_run_that_fails_does_not_stop_the_race(fly):
    result = fly(study(arms={"part": {"batch": 6}, "loud": {"batch": 5}}, curve=[1.0]))
    part = result.arms["part"]
    assert part.seeds == part.planned - (part.planned > 4) and result.finished
    assert [look.seeds for look in part.looks][:2] == [3, 5][: len(part.looks)]


def test_a_race_that_was_begun_otherwise_is_told(fly):
    fly(study(curve=[1.0], arms={"wide": {"context": 64}}))
    changed = fly(study(curve=[1.0], arms={"wide": {"context": 64}}, seeds={"least": 3, "most": 30}))
    assert any("begun with 3 to 12 seeds and now has 3 to 30" in note for note in changed.notes)


def test_what_the_results_of_a_section_say_of_the_noise_is_known_to_its_race_and_settled_when_it_begins(fly, monkeypatch):
    found = study(curve=[1.0], baseline={**RAW["baseline"], "section": "S"})
    base = found.resolved["baseline"]
    exposure = estimate(base)["own_tokens"] / base.block_parameters
    runs = [
        {"arm": "baseline", "seed": seed, "status": "finished", "test": {"bits_per_byte": 2 + 0.03 * random.Random(seed).gauss(0, 1)}}
        for seed in range(40)
    ]
    about = {"metric": "bits_per_byte", "curve": [1.0]}
    shipped = StudyResult.model_validate({"study": about, "baseline": {"tokens_per_parameter": exposure}, "runs": runs})
    monkeypatch.setattr(prior.committed, "results", lambda name: {"python": shipped})
    result = fly(found)
    noise = result.study.race["noise"]
    assert noise["source"] == "40 seeds of section S, as if pairing helped nothing" and noise["sd"] == pytest.approx(0.042, rel=0.3)
    assert all(look.prior for look in result.arms["wide"].looks) and not result.arms["loud"].looks[0].prior
    told = " ".join(Reading(result).honesty())
    assert "was known beforehand (from 40 seeds of section S" in told and "loud spread wider than that allows" in told
    monkeypatch.setattr(prior.committed, "results", lambda name: {})
    assert fly(found).arms == result.arms, "what is shipped later changes no look"
    assert found.race.noise is None
    without = fly(study(name="without", seeds={"least": 3, "most": 12, "noise": False}, curve=[1.0], baseline=found.baseline))
    assert all(look.prior is None for look in without.arms["wide"].looks)


def test_known_noise_of_another_number_is_not_used():
    race = Race(noise=KnownNoise(sd=0.1, freedom=3, metric="bits_per_byte"))
    assert race.about("bits_per_byte") == race and race.about("accuracy").noise is None and Race(noise=False).about("x").noise is False


def test_an_expectation_of_a_paper_is_judged_by_an_interval_that_holds_after_looking(fly):
    result = fly(study(curve=[1.0]))
    expect = {"arm": "wide", "relation": "better"}
    facts = {"papers": "p", "title": "t", "year": 2024, "claim": "c", "scales": {"cpu": {"seeds": 2}}}
    paper = Paper.model_validate({**facts, "expect": expect})
    found = judge(paper, "cpu", result)
    improvement, planned = found["expectations"][0]["improvement"], result.arms["wide"].planned
    values = found["expectations"][0]["values"]
    level = sum(values["baseline"].values()) / len(values["baseline"])
    gains = [(values["baseline"][seed] - values["wide"][seed]) / level for seed in values["wide"]]
    expected = repeated_interval(gains, Race().looks[: planned // 3], 12, 0.95)
    assert improvement["low"] == pytest.approx(expected.low, rel=0.05)
    assert improvement["low"] < interval(gains, 0.95).low
    assert found["arms"]["wide"]["planned"] == planned and found["arms"]["wide"]["looks"]


def test_check_says_the_least_and_the_most_that_a_race_may_cost():
    found = study(curve=[1.0])
    checked = check_study(found, timed=False)
    assert (checked["least"]["runs"], checked["runs"], checked["least"]["seeds"], checked["seeds"]) == (9, 36, 3, 12)
    assert checked["least"]["flops"] == pytest.approx(checked["flops"] / 4)
    text = "\n".join(summary(checked))
    assert "2 arms, 3 to 12 seeds" in text and "9 to 36 runs" in text and "at least" in text
    assert check_study(study(seeds=3, curve=[1.0]), timed=False)["least"] is None


def test_a_plan_has_as_many_seeds_of_each_arm_as_are_wanted():
    found = study()
    entries = plan(found, found.resolved, dict.fromkeys(found.resolved, ""), Variant(), {"wide": 3, "loud": 6})
    count = {(entry.arm, entry.multiple): 0 for entry in entries}
    for entry in entries:
        count[entry.arm, entry.multiple] += 1
    assert count == {("baseline", 0.5): 6, ("baseline", 1.0): 6, ("baseline", 2.0): 6, ("wide", 1.0): 3, ("loud", 1.0): 6}


def test_a_race_of_the_baseline_alone_flies_the_most_seeds(fly):
    assert fly(study(curve=[1.0], arms={})).baseline.seeds == 12
