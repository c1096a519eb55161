"""Claims of papers at larger budgets."""

from typing import Any

import pytest

from windtunnel.laws.ahead import claims_ahead
from windtunnel.study.lenient import paper_result
from windtunnel.study.paper_result import PaperResult


def measured_at(flops: float, gains: dict[str, float], *, relation: str = "better", by: float = 0.0, **more: Any) -> PaperResult:
    """A result whose arms are better than the baseline by these shares, with a little noise."""
    level = {seed: 3.0 * flops**-0.05 * (1 + 0.001 * seed) for seed in range(4)}
    claims = [
        {
            "arm": arm,
            "metric": "bits_per_byte",
            "relation": relation,
            "by": by,
            "values": {
                "baseline": level,
                arm: {seed: value * (1 - gain) * (1 + 0.001 * (seed % 2)) for seed, value in level.items()},
            },
            **more,
        }
        for arm, gain in gains.items()
    ]
    runs = [{"arm": "baseline", "multiple": 1, "seed": seed, "status": "finished", "totals": {"flops": flops}} for seed in level]
    found: PaperResult = paper_result({"format": 2, "expectations": claims, "runs": runs, "study": {"metric": "bits_per_byte"}})
    return found


def test_a_large_difference_at_one_scale_likely_stays_and_a_small_one_is_open() -> None:
    large, small, worse = claims_ahead({"cpu": measured_at(1e12, {"much": 0.16, "little": 0.002, "less": -0.16})})
    assert large.measured == pytest.approx(0.16, abs=0.002) and large.largest == 1e12 and "prior" in large.why
    assert large.ahead[0].holds > 0.97 and 0.35 < small.ahead[0].holds < 0.75 and worse.ahead[0].holds < 0.03
    near, far = large.ahead
    assert near.verified and not far.verified and far.times == 100
    assert far.improvement.low < near.improvement.low < 0.16 < near.improvement.high < far.improvement.high  # type: ignore[operator]


def test_scales_tell_how_a_difference_changes() -> None:
    shrinking = {f"{k}": measured_at(10.0**k, {"fades": gain, "stays": 0.04}) for k, gain in ((11, 0.08), (12, 0.06), (13, 0.04))}
    fades, stays = claims_ahead(shrinking)
    assert fades.scales == ["11", "12", "13"] and fades.why == "3 scales" and fades.largest == 1e13
    assert fades.measured == pytest.approx(stays.measured, abs=0.002)
    assert fades.ahead[0].improvement.value < 0.03 < stays.ahead[0].improvement.value  # type: ignore[operator]
    assert fades.ahead[1].holds < stays.ahead[1].holds


def test_the_relation_and_the_margin_are_those_of_the_claim() -> None:
    holds = {
        relation: claims_ahead({"cpu": measured_at(1e12, {"arm": -0.03}, relation=relation, by=by)})[0].ahead[0].holds
        for relation, by in (("better", 0.0), ("not-worse", 0.1), ("worse", 0.0))
    }
    assert holds["better"] < 0.2 and holds["not-worse"] > 0.9 and holds["worse"] == pytest.approx(1 - holds["better"], abs=0.01)
    higher = claims_ahead({"cpu": measured_at(1e12, {"arm": -0.16}, direction="higher")})[0]  # of a score, a larger number is better
    assert higher.measured == pytest.approx(0.16, abs=0.002) and higher.ahead[0].holds > 0.97


def test_what_has_no_ratio_is_not_forecast() -> None:
    claim = claims_ahead({"cpu": measured_at(1e12, {"arm": 0.1}, relative=False)})[0]
    assert not claim.ahead and claim.measured is None and "no number above zero" in claim.why
    assert claims_ahead({}) == []
