"""Named accelerators: textbook numbers of time and memory, and what does not fit."""

from pathlib import Path
from typing import Any

import pytest

from windtunnel.core.errors import UserError
from windtunnel.laws.device import on_device, sentence
from windtunnel.laws.elsewhere import Elsewhere
from windtunnel.recipe import recipe_from
from windtunnel.train.accelerators import DEVICES, device_of, named_by_driver
from windtunnel.train.estimate import STATE, USABLE, Footprint, estimate, footprint


def of_depth(depth: int, **more: Any) -> Any:
    return recipe_from({"corpus": {"notes": "/nowhere"}, "budget": {"flops": 1e21}, "model": {"depth": depth}, "context": 2048, **more})


def test_days_are_the_flops_over_the_share_of_the_peak() -> None:
    recipe = of_depth(8)
    one, eight = (on_device(recipe, DEVICES["h100"], gpus, mfu=0.5) for gpus in (1, 8))
    assert one.days == pytest.approx(1e21 / (0.5 * 989e12 * 86400), rel=1e-6)
    assert eight.days == pytest.approx(one.days / 8) and eight.device_hours == pytest.approx(one.device_hours) == pytest.approx(
        24 * one.days
    )
    with pytest.raises(UserError, match="between 0 and 1"):
        on_device(recipe, DEVICES["h100"], mfu=40)


def test_memory_is_the_state_and_the_sequences_that_fit() -> None:
    recipe = of_depth(16, batch=64)
    found, parameters = footprint(recipe), estimate(recipe)["parameters"]
    assert found.state == STATE * parameters
    sizes = recipe.phases[0].model.sizes()
    assert found.sequence > 34 * sizes.layers * sizes.width * 2048, "the logits come on top"
    told = on_device(recipe, DEVICES["h100"])
    assert 1 <= told.micro_batch <= 64 and told.memory <= USABLE * 80e9 and "fits" in sentence(told, DEVICES["h100"])
    assert told.memory == found.state + told.micro_batch * found.sequence
    spread = on_device(recipe, DEVICES["h100"], gpus=8)
    assert spread.micro_batch <= 8 and spread.memory < told.memory


def test_what_does_not_fit_says_how_many_devices_would_hold_it() -> None:
    large = of_depth(32)  # 1.7 billion parameters
    told = on_device(large, DEVICES["l4"])
    assert told.micro_batch == 0 and told.least_gpus is not None and told.least_gpus > 1
    assert f"does not fit: {told.memory / 1e9:.3g} of 24 GB with one sequence at a time; {told.least_gpus} devices" in sentence(
        told, DEVICES["l4"]
    )
    assert on_device(large, DEVICES["l4"], gpus=told.least_gpus).micro_batch >= 1
    assert on_device(large, DEVICES["l4"], gpus=told.least_gpus - 1).micro_batch == 0
    assert Footprint(1e9, 1e12).most(80e9, 1) == 0


def test_a_step_is_one_of_the_run_and_not_of_the_models_that_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe, device = of_depth(8), DEVICES["h100"]
    alone = on_device(recipe, device, 2, mfu=0.5)
    assert alone.step_seconds == pytest.approx(86400 * alone.days / estimate(recipe)["steps"])
    more = estimate(recipe) | {"flops": 3e21, "steps": 1e9}
    monkeypatch.setattr("windtunnel.laws.device.estimate", lambda _: more)
    beside = on_device(recipe, device, 2, mfu=0.5)
    assert beside.step_seconds == pytest.approx(alone.step_seconds) and beside.days == pytest.approx(3 * alone.days)


def test_gradients_lie_beside_the_activations_of_later_micro_batches() -> None:
    recipe, device = of_depth(12, batch=16), DEVICES["h100"]
    step = Footprint(state=40e9, sequence=2.1e9, gradients=13e9)
    told = on_device(recipe, device, step=step)
    assert told.micro_batch == 9 and told.memory == 53e9 + 9 * 2.1e9
    whole = on_device(recipe, device, step=step._replace(sequence=1.9e9))
    assert whole.micro_batch == 16 and whole.memory == 40e9 + 16 * 1.9e9, "a step of one batch has them not"


def test_an_unknown_device_names_the_nearest() -> None:
    with pytest.raises(UserError, match=r"--device h10: .*did you mean 'h100'.*known: a10, a100"):
        device_of("h10")


def test_more_devices_than_sequences_are_refused() -> None:
    with pytest.raises(UserError, match="--gpus 1000: a step has 16 sequences"):
        on_device(of_depth(12, batch=16), device_of("h100"), gpus=1000)


def test_a_pilot_takes_as_many_devices_as_it_has_sequences_and_the_large_run_all() -> None:
    asked = Elsewhere.asked("h100", 64, 7.0, None)
    assert asked is not None
    found, lines = asked.told({"baseline": of_depth(1, batch=16)})
    assert found["runs"]["baseline"]["gpus"] == 16 and any(line.endswith("on 16 of them") for line in lines)
    assert any("7 days there buy" in line for line in lines)


def test_a_mesh_is_chosen_by_memory_and_recomputing_takes_less() -> None:
    recipes = {"baseline": of_depth(1, batch=16)}
    found = []
    for recompute in (False, True):
        asked = Elsewhere.asked("h100", 4, None, None, "auto", recompute)
        assert asked is not None
        told, lines = asked.told(recipes)
        assert any("on 4 h100" in line for line in lines) and any(line.endswith("laid out as data=4,shard=1") for line in lines)
        found.append(told["runs"]["baseline"]["memory"])
    assert found[1] <= found[0]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ((None, 8, None, None), "--gpus 8: of which accelerator"),
        ((None, None, None, None, "shard=2"), "--mesh shard=2: of which accelerators"),
        ((None, None, None, None, None, True), "--recompute: of which accelerators"),
        (("h100", 4, None, None, "shard=2"), "--gpus 4: the mesh data=1,shard=2 takes 2 devices"),
        ((None, None, None, 0.5), "--mfu 0.5: of which accelerator"),
        (("h1000", None, None, None), "--device h1000"),
        (("h100", None, -1.0, None), "--days -1: give a positive number"),
        (("h100", None, None, 40.0), "--mfu 40"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_timed(asked: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Elsewhere.asked(*asked)


def test_check_says_what_days_elsewhere_buy() -> None:
    recipe = recipe_from({"corpus": {"notes": "/nowhere"}, "budget": {"tokens": 4e6}, "model": {"depth": 2}})
    found, lines = Elsewhere("h100", 1, 7.0, 0.4).told({"baseline": recipe})
    assert found["large"]["numbers"]["flops"]["value"] == pytest.approx(7 * 86400 * 0.4 * 989e12)
    assert lines[0].startswith("on one h100 at 40% of 9.89e+14 bfloat16 FLOPs a second (NVIDIA H100 SXM data sheet")
    assert lines[1].startswith("  baseline: ") and "fits" in lines[1]
    assert lines[2].startswith("  below 1e+08 parameters")
    assert lines[3].startswith("7 days there buy 2.39e+20 FLOPs, best spent on ") and "of 80 GB (fits, " in lines[3]
    assert any("fly a rung between" in line for line in lines)
    alone, fewer = Elsewhere("h100", 2, None, 0.4).told({"baseline": recipe})
    assert "large" not in alone and len(fewer) == 3 and fewer[0].startswith("on 2 h100 at")


def test_the_table_of_the_documentation_is_the_one_that_is_used() -> None:
    text = (Path(__file__).parents[2] / "docs" / "laws.md").read_text(encoding="utf-8")
    for one in DEVICES.values():
        assert f"| {one.name} | {one.peak:.4g} | {one.memory / 1e9:.0f} GB | {one.source} |\n" in text


@pytest.mark.parametrize(
    ("driver", "name"),
    [
        ("NVIDIA H200", "h200"),
        ("NVIDIA H100 80GB HBM3", "h100"),
        ("NVIDIA H100 PCIe", "h100-pcie"),
        ("NVIDIA A100-SXM4-40GB", "a100-40gb"),
        ("NVIDIA A100-SXM4-80GB", "a100"),
        ("NVIDIA L40S", "l40s"),
        ("AMD Instinct MI300X", "mi300x"),
        ("NVIDIA GeForce RTX 4090", None),
        ("NVIDIA H100 NVL", None),
        ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", None),
    ],
)
def test_an_accelerator_is_known_by_what_its_driver_calls_it(driver: str, name: str | None) -> None:
    found = named_by_driver(driver)
    assert (found and found.name) == name
