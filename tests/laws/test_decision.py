"""Forecasts from studies at several scales: what was planted is expected, what cannot be told is refused or said."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from windtunnel.core.errors import UserError
from windtunnel.laws.decision import expected, forecast
from windtunnel.report.document import document

PLANTED = {"baseline": (0.0, 0.0), "better": (-0.03, 0.0), "fading": (-0.02, 0.01), "same": (0.0, 0.0)}


def ladder(scales: tuple[float, ...] = (1e12, 8e12, 6.4e13), seeds: int = 3, noise: float = 0.002, **more: Any) -> list[dict[str, Any]]:
    """A study a scale; an arm's log loss differs by a shift at the largest one, and by a slope over the logarithm of FLOPs."""
    found = []
    for place, flops in enumerate(scales):
        random = np.random.default_rng(place)
        runs = []
        together = noise * random.standard_normal(seeds)  # what a seed does to every arm
        for arm, (shift, slope) in PLANTED.items():
            for multiple in (0.5, 1.0, 2.0) if arm == "baseline" else (1.0,):
                spent = flops * multiple
                middle = np.log(1.0 + 60 / spent**0.13) + shift + slope * np.log(spent / 6.4e13)
                for seed in range(seeds):
                    value = float(np.exp(middle + together[seed] + noise / 3 * random.standard_normal()))
                    totals = {"flops": spent, "tokens": 1e6}
                    run = {"arm": arm, "multiple": multiple, "seed": seed, "status": "finished"}
                    runs.append({**run, "test": {"bits_per_byte": value}, "totals": totals})
        arms = {arm: {"verdict": "undecided"} for arm in PLANTED if arm != "baseline"}
        study = {"name": f"scale-{place}", "metric": "bits_per_byte", "unit": "bits per byte", "better": "lower"}
        found.append({"format": 2, "study": study, "stream": {"fingerprint": "x"}, "arms": arms, "runs": runs, **more})
    return found


def test_what_was_planted_is_expected() -> None:
    found = forecast(ladder(), 6.4e14)
    assert found.order[0] == "better" and found.arms["better"].better is not None and found.arms["better"].better > 0.95
    difference = found.arms["better"].difference
    assert difference is not None and difference.low < np.expm1(-0.03) < difference.high and difference.high - difference.low < 0.05
    assert found.arms["better"].regret < found.arms["same"].regret and found.scales == 3
    # Fading was ahead by 2 percent at the largest scale, and its gain dwindles with compute.
    fading = found.arms["fading"].difference
    assert fading is not None and fading.value > -0.02
    at, truth = expected(found, "baseline"), 1.0 + 60 / 6.4e14**0.13
    assert at is not None and at.low < truth * 1.01 and at.high > truth * 0.99 and at.high / at.low < 1.2
    assert found.bands["better"].band[-1].value < found.bands["baseline"].band[-1].value
    assert "hardly change the choice" in found.advice
    assert [one.flops for one in found.pilots] == sorted(one.flops for one in found.pilots)


def test_pilots_are_worth_more_where_nothing_is_known() -> None:
    """With noise of the size of the differences the choice is open, and a larger scale tells more than more seeds of the largest."""
    sure, open_ = forecast(ladder(), 6.4e14), forecast(ladder(noise=0.15, seeds=2), 6.4e14)
    assert max(one.changes for one in sure.pilots) < 0.1 < max(one.changes for one in open_.pilots)
    assert "would change the choice" in open_.advice and any("decides nothing" in line for line in open_.warnings)
    assert all(one.worth >= 0 for one in open_.pilots)


def test_forecasts_that_cannot_be_told_are_refused() -> None:
    three = ladder()
    with pytest.raises(UserError, match=r"1 budget in common.*fly the study again at"):
        forecast(three[:1], 1e15)
    with pytest.raises(UserError, match="below the ladder"):
        forecast(three, 1e9)
    with pytest.raises(UserError, match="below the ladder"):
        forecast(three, float("nan"))
    assert any("two scales alone" in line for line in forecast(three[:2], 1e14).warnings)
    perplexity = [copy.deepcopy(one) for one in three]
    for number, one in enumerate(perplexity):
        one["study"] |= {"metric": "loss", "unit": "nats"}
        one["stream"] = {"fingerprint": str(number)}
        for run in one["runs"]:
            run["test"] = {"loss": run["test"]["bits_per_byte"]}
    with pytest.raises(UserError, match="two tokenizers"):
        forecast(perplexity, 1e15)
    with pytest.raises(UserError, match="several metrics"):
        forecast([three[0], perplexity[1]], 1e15)
    for run in three[0]["runs"]:
        if run["arm"] == "same":
            run["status"] = "failed"
    found = forecast(three, 6.4e14)
    assert any("every run of same failed at 1e+12 FLOPs" in line for line in found.warnings) and found.scales == 2
    for one in three:
        one["arms"].pop("better")
    assert "better" not in forecast(three[1:], 6.4e14).order


def test_the_page_has_the_decision(tmp_path: Path) -> None:
    results = ladder()
    text = document(results[-1], forecast(results, 6.4e14))
    for said in ("At 6.4e+14 FLOPs", "take it: almost surely better", "What more pilots would be worth", "<svg"):
        assert said in text
    assert "What more pilots" not in document(results[-1])
