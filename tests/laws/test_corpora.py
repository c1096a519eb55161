"""Several corpora and several techniques: textbook numbers, planted effects, and refusals."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from windtunnel.commands.train import against_band, arm_at, read_forecast
from windtunnel.core.errors import UserError
from windtunnel.laws.corpora import interaction, over_corpora, pool, random_effects
from windtunnel.laws.plan import Needs, plan, scaled, spend
from windtunnel.recipe import recipe_from


def study(number: int, effects: dict[str, float], seeds: int = 4, noise: float = 0.002) -> dict[str, Any]:
    random = np.random.default_rng(number)
    runs = []
    together = 0.02 * random.standard_normal(seeds)
    for arm, effect in {"baseline": 0.0, **effects}.items():
        for seed in range(seeds):
            value = 1.8 * float(np.exp(effect + together[seed] + noise * random.standard_normal()))
            runs.append({"arm": arm, "multiple": 1.0, "seed": seed, "status": "finished", "test": {"bits_per_byte": value}})
    about = {"name": f"corpus-{number}", "metric": "bits_per_byte"}
    return {"format": 2, "study": about, "stream": {"fingerprint": str(number)}, "arms": {arm: {} for arm in effects}, "runs": runs}


def test_random_effects_are_those_of_a_textbook() -> None:
    """Equal variances have a closed form: the mean is plain, its error that of Student, the rest is between."""
    effect, variance = np.array([0.1, 0.3, 0.2, 0.6]), np.full(4, 0.01)
    mean, error, between = random_effects(effect, variance)
    assert mean == pytest.approx(0.3) and error == pytest.approx(effect.std(ddof=1) / 2)
    assert between == pytest.approx(effect.var(ddof=1) - 0.01)
    found = pool(["a", "b", "c", "d"], effect, variance)
    assert found.high - found.mean == pytest.approx(3.182446 * error, rel=1e-5)  # t with 3 degrees of freedom
    assert found.predicted_high - found.mean == pytest.approx(4.302653 * np.sqrt(between + error**2), rel=1e-5)  # with 2


def test_an_arm_that_helps_on_average_may_hurt_on_the_next() -> None:
    effects = (-0.05, -0.01, -0.04, -0.02, -0.07, -0.03)
    found = over_corpora([study(number, {"arm": effect}) for number, effect in enumerate(effects)])["arm"]
    assert found.mean == pytest.approx(np.mean(effects), abs=0.004) and found.high < 0 and 0.9 < found.helps < 1
    assert found.predicted_high > found.high and found.between == pytest.approx(np.std(effects, ddof=1), rel=0.3)
    with pytest.raises(UserError, match="fly 1 more, of another kind"):
        over_corpora([study(number, {"arm": -0.1}) for number in range(2)])
    with pytest.raises(UserError, match="no arm in common"):
        over_corpora([study(0, {"a": 0.0}), study(1, {"b": 0.0}), study(2, {"b": 0.0})])


def test_techniques_that_do_the_same_do_not_add_up() -> None:
    found = interaction(study(0, {"a": -0.04, "b": -0.03, "both": -0.045}, seeds=8), "a", "b", "both")
    assert found.low < 0.025 < found.high and found.low > 0 and found.seeds == 8
    with pytest.raises(UserError, match="no arm 'boht'; did you mean 'both'"):
        interaction(study(0, {"a": 0.0, "b": 0.0, "both": 0.0}), "a", "b", "boht")


# Plans ----------------------------------------------------------------------------------------------------------------------------------


def pilot(**more: Any) -> Any:
    raw = {"corpus": {"notes": "/nowhere"}, "budget": {"tokens": 4e6}, "section": "S", **more}
    from windtunnel.recipe.nesting import on_its_section

    return recipe_from(on_its_section(raw))


def test_a_plan_says_what_to_fly_and_from_where_it_knows() -> None:
    found = plan(pilot(), flops=1e19, gpus=8, price=2.0)
    numbers = found.numbers
    assert 10 < numbers["tokens a parameter"].value < 60 and all(one.why for one in numbers.values())
    assert numbers["parameters"].low is not None and numbers["parameters"].low < numbers["parameters"].value < (
        numbers["parameters"].high or 0
    )
    large = recipe_from(found.recipe)
    sizes, budget = large.phases[0].model.sizes(), large.budget
    assert budget.flops == 1e19 and sizes.layers == numbers["layers"].value and sizes.width == numbers["width"].value
    assert large.phases[0].batch > 32 and large.phases[0].rate_multiple < 0.5
    assert sizes.initializer_range == pytest.approx(0.1 * np.sqrt(64 / sizes.width))
    few = plan(pilot(), flops=1e19, needs=Needs(corpus_tokens=1e8))
    assert few.numbers["parameters"].value < numbers["parameters"].value * 1.5 and few.numbers["epochs"].value > 4
    assert any("repeated tokens" in line for line in few.warnings)
    used = plan(pilot(), flops=1e19, needs=Needs(inference_tokens=1e11))
    assert used.numbers["parameters"].value < numbers["parameters"].value
    assert plan(pilot(), flops=1e19, needs=Needs(max_size=2e7)).numbers["parameters"].value < 2.4e7
    with pytest.raises(UserError, match="fewer than the pilot's"):
        plan(pilot(), flops=1e9)


def test_stacked_layers_keep_their_proportion() -> None:
    phases = [{"share": 0.2, "model": {"layers": 2}}, {"share": 0.8, "start": {"stack": {"factor": 2}}}]
    found = scaled(pilot(phases=phases), 100.0, 1e17)
    layers = [phase.model.sizes().layers for phase in found.phases]
    assert layers[1] == 2 * layers[0] and layers[0] > 2


def test_an_arm_of_a_study_is_trained_at_its_real_size(tmp_path: Path) -> None:
    study = {
        "corpus": {"notes": "/nowhere"},
        "budget": {"tokens": 4e6},
        "baseline": {"section": "S"},
        "arms": {"deep": {"model": {"layers": 6}}},
    }
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(study))
    found = arm_at(path, "deep", 1e17, None, ())
    assert found.phases[0].model.sizes().layers % 6 == 0 and found.budget.flops == 1e17
    with pytest.raises(UserError, match="no arm 'depe'; did you mean 'deep'"):
        arm_at(path, "depe", 1e17, None, ())
    with pytest.raises(UserError, match="go together"):
        arm_at(path, "deep", None, None, ())


def test_a_loss_outside_the_band_is_said(tmp_path: Path) -> None:
    band = {"measured": [], "band": [{"flops": 1e17, "value": 1.5, "low": 1.4, "high": 1.6}]}
    told = {
        "target": 1e17,
        "largest": 1e15,
        "baseline": "baseline",
        "arms": {},
        "order": [],
        "rank_at_one_scale": [],
        "points": 9,
        "scales": 3,
    }
    path = tmp_path / "forecast.json"
    path.write_text(json.dumps({**told, "metric": "bits_per_byte", "bands": {"deep": band}}))
    assert "lies within" in against_band(read_forecast(path, "deep"), "deep", {"bits_per_byte": 1.45})
    assert "lies above" in against_band(read_forecast(path, "deep"), "deep", {"bits_per_byte": 1.7})
    assert "not measured by bits_per_byte" in against_band(read_forecast(path, "deep"), "deep", {"accuracy": 0.7})
    with pytest.raises(UserError, match="forecasts no arm 'wide'"):
        read_forecast(path, "wide")
    with pytest.raises(UserError, match="no forecast"):
        read_forecast(tmp_path / "none.json", "deep")


def test_impossible_budgets_are_refused() -> None:
    assert spend(None, 64, 7, 0.4, 989e12) == pytest.approx(64 * 7 * 86400 * 0.4 * 989e12)
    for given, said in (
        ((1e21, 64, 7, 0.4, 1e15), "either --flops"),
        ((None, 64, None, 0.4, 1e15), "either"),
        ((None, 1, 1, 40, 1e15), "share of the peak"),
    ):
        with pytest.raises(UserError, match=said):
            spend(*given)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="buy nothing"):
        spend(float("nan"), None, None, 0.4, 1e15)
