"""A run that leaves its forecast while it is under way."""

import pytest

from windtunnel.commands.train import Callbacks, watched
from windtunnel.laws.decision import ForecastResult
from windtunnel.laws.under_way import on_the_way
from windtunnel.recipe import recipe_from
from windtunnel.study.lenient import as_result

SHARES = (0.1, 0.25, 0.5, 0.75, 1.0)


def pilots(scale, times=1.0):
    """Two seeds of an arm whose validation loss is 1 + (1 - share) times its end, and a second one that failed."""

    def run(seed, status="finished"):
        end = (2.0 - 0.1 * scale) * (1 + 0.01 * seed)
        points = [{"step": int(100 * s), "flops": 1e9 * s, "numbers": {"loss": end * (1 + times * (1 - s))}} for s in SHARES]
        return {"arm": "wide", "seed": seed, "status": status, "test": {"loss": end}, "totals": {"flops": 1e9}, "validation": points}

    return as_result({"study": {"metric": "loss"}, "runs": [run(0), run(1), run(2, "failed")]})


def forecast(way):
    band = {"measured": [], "band": [{"flops": 1e12, "value": 1.0, "low": 0.9, "high": 1.1}], "way": [one.plain() for one in way]}
    facts = {"target": 1e12, "largest": 1e9, "baseline": "baseline", "arms": {}, "order": [], "rank_at_one_scale": []}
    return ForecastResult.model_validate({**facts, "points": 9, "scales": 3, "metric": "loss", "bands": {"wide": band}})


def test_pilots_say_where_a_run_stands_before_its_end():
    way = on_the_way([pilots(0), pilots(3, times=2.0)], "wide", "loss")
    assert way[0].share == pytest.approx(0.1) and way[-1].share == 1.0, "nothing is known before the first evaluation"
    half = next(one for one in way if one.share == pytest.approx(0.5))
    assert (half.low, half.high) == (pytest.approx(1.5), pytest.approx(2.0)) and (way[-1].low, way[-1].high) == (
        pytest.approx(1),
        pytest.approx(1),
    )
    assert on_the_way([pilots(0)], "deep", "loss") == on_the_way([as_result({"runs": []})], "wide", "loss") == []


def flown(values, stops):
    """What is said of a run with these losses at :data:`SHARES`, and where it is stopped."""
    said, told = [], []
    recipe = recipe_from({"corpus": {"a": "builtin:stdlib"}, "budget": {"steps": 1}})
    found = forecast(on_the_way([pilots(0)], "wide", "loss"))
    callbacks = watched(Callbacks(told.append, lambda: False, said.append), found, "wide", recipe, stops)
    for number, (share, value) in enumerate(zip(SHARES, values, strict=True)):
        point = {"step": number, "flops": 1e12 * share, "numbers": {"loss": value}}
        for later in (share, min(share + 0.01, 1.0)):  # the same evaluation is reported more than once
            callbacks.follow({"step": number, "done": later, "flops": 1e12 * later, "validation": [point]})
        if callbacks.stop():
            return said, share
    assert len(told) == 2 * len(SHARES), "progress is shown as before"
    return said, None


def test_a_run_on_its_way_is_not_remarked_on():
    assert flown([1.9, 1.75, 1.5, 1.25, 1.0], True) == ([], None)
    assert flown([2.5, 1.75, 1.5, 1.25, 1.0], True) == ([], None), "one evaluation above is none"


def test_a_run_that_leaves_its_forecast_is_told_and_stopped_if_asked():
    said, end = flown([1.9, 2.2, 2.1, 2.0, 1.0], False)
    assert end is None and len(said) == 2 and "step 2, 50%: loss 2.1000 on validation lies above its forecast, 1.3500 to 1.6500" in said[0]
    assert "within its forecast again" in said[1]
    said, end = flown([1.9, 2.2, 2.1, 2.0, 1.0], True)
    assert end == 0.5 and said[-1].endswith("stopping, as asked")
    [said], _ = flown([1.9, 1.0, 1.5, 1.25, 1.0], True)
    assert "better than foretold, or held-out text is trained on" in said


def test_without_evaluations_of_pilots_the_end_alone_is_compared():
    said = []
    recipe = recipe_from({"corpus": {"a": "builtin:stdlib"}, "budget": {"steps": 1}})
    before = Callbacks(lambda told: None, lambda: False, said.append)
    assert watched(before, forecast([]), "wide", recipe, True) is before and "at the end alone" in said[0]
